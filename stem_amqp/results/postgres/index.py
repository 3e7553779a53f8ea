"""Indexes that were added after the first release of the tables; they are built during operation.

They do not change the version of the schema: older releases work with them, and newer ones work
without them, but slower.
"""

from __future__ import annotations

import logging

import asyncpg

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.postgres.errors import is_outage
from stem_amqp.results.postgres.pool import Connection, PostgresPool

log = logging.getLogger("stem_amqp.results")

INDEXES = {
    # Only columns that do not change with the state, so that updates stay HOT.
    "stem_tasks_by_creation": "stem_tasks (namespace, created_at, task_id)",
}
"""Each index and its columns."""

CREATE = tuple(f"CREATE INDEX {name} ON {what};" for name, what in INDEXES.items())
"""Statements for tables that are not in use yet."""

# An index that is being built is not valid yet; any other invalid index never will be.
_MISSING = """
SELECT wanted.name, class.oid IS NOT NULL AS broken
FROM unnest($1::text[]) AS wanted (name)
LEFT JOIN pg_catalog.pg_class AS class
    ON class.relname = wanted.name AND pg_catalog.pg_table_is_visible(class.oid)
LEFT JOIN pg_catalog.pg_index AS index ON index.indexrelid = class.oid
WHERE index.indisvalid IS NOT TRUE AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index AS building
    WHERE building.index_relid = class.oid
)
"""
_TAKEN = (asyncpg.DuplicateTableError, asyncpg.UniqueViolationError, asyncpg.UndefinedObjectError)
"""Another process was faster."""


class PostgresIndexes:
    """Builds the missing indexes, and checks them until all exist.

    Args:
        pool: the database.
    """

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._done = False

    async def ensure(self) -> None:
        """Build the missing indexes, without a lock that writers would wait for.

        It may take minutes. If the role lacks the right, a warning says what an owner can do.

        Raises:
            BackendUnavailableError: the server cannot be used.
        """
        if self._done or not await self._missing():
            self._done = True
            return
        connection = await self._pool.connect()
        try:
            await connection.execute("SET statement_timeout = 0")
            for name, broken in await self._missing():
                await _build(connection, name, broken=broken)
        except asyncpg.InsufficientPrivilegeError as error:
            self._done = True
            log.warning(
                "an index is missing, and lists of tasks are slow without it: %s.\n"
                "  Let an owner of the tables create it:\n%s",
                error,
                "\n".join(f"  CREATE INDEX CONCURRENTLY {n} ON {w};" for n, w in INDEXES.items()),
            )
        except Exception as error:
            if is_outage(error):
                raise BackendUnavailableError(f"an index could not be built: {error}") from error
            raise
        finally:
            connection.terminate()

    async def _missing(self) -> list[tuple[str, bool]]:
        names = list(INDEXES)
        rows = await self._pool.run(lambda connection: connection.fetch(_MISSING, names))
        return [(row[0], row[1]) for row in rows]


async def _build(connection: Connection, name: str, *, broken: bool) -> None:
    try:
        if broken:
            await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
        log.info("building the index %s; writers are not blocked", name)
        await connection.execute(f"CREATE INDEX CONCURRENTLY {name} ON {INDEXES[name]}")
    except _TAKEN as error:
        log.debug("another process builds the index %s: %s", name, error)
