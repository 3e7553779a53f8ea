"""The tables in PostgreSQL; the first process that connects creates or migrates them.

``python -m stem_amqp.results.postgres.schema`` prints them as SQL, for an owner to create by hand
where the application's role lacks the right.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import asyncpg

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.postgres.index import CREATE
from stem_amqp.results.postgres.pool import Connection

OLDEST_SERVER = 12
"""The first with generated columns."""
LOCK_KEY = 0x5374656D
"""``Stem`` in ASCII: the advisory lock under which the schema is changed."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE stem_schema (
        version integer NOT NULL
    );
    INSERT INTO stem_schema (version) VALUES (0);

    -- Every text that is compared has the C collation, so that rows are locked in the same order
    -- here and in Python. Half of each page stays free for the next versions of its rows, and
    -- expiry is indexed by the minute, which the changes of a task's usual life leave alone: so
    -- that they are HOT updates, which touch no index.
    CREATE TABLE stem_tasks (
        namespace text COLLATE "C" NOT NULL,
        task_id text COLLATE "C" NOT NULL,
        state text COLLATE "C" NOT NULL,
        attempt integer NOT NULL,
        replay integer NOT NULL,
        created_at double precision NOT NULL,
        updated_at double precision NOT NULL,
        started_at double precision,
        next_run double precision,
        expires_at double precision NOT NULL,
        expires_minute bigint NOT NULL GENERATED ALWAYS AS (floor(expires_at / 60)::bigint) STORED,
        task text NOT NULL,
        queue text NOT NULL,
        worker text,
        reason text,
        error text,
        traceback text,
        meta json,
        progress json,
        result bytea,
        PRIMARY KEY (namespace, task_id)
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX stem_tasks_by_expiry ON stem_tasks (namespace, expires_minute);

    CREATE TABLE stem_groups (
        namespace text COLLATE "C" NOT NULL,
        group_id text COLLATE "C" NOT NULL,
        size integer NOT NULL,
        expires_at double precision NOT NULL,
        claimed_by text COLLATE "C",
        PRIMARY KEY (namespace, group_id)
    );
    CREATE INDEX stem_groups_by_expiry ON stem_groups (namespace, expires_at);

    CREATE TABLE stem_group_members (
        namespace text COLLATE "C" NOT NULL,
        group_id text COLLATE "C" NOT NULL,
        task_id text COLLATE "C" NOT NULL,
        state text COLLATE "C" NOT NULL,
        PRIMARY KEY (namespace, group_id, task_id),
        FOREIGN KEY (namespace, group_id) REFERENCES stem_groups ON DELETE CASCADE
    );
    """,
    """
    CREATE TABLE stem_keys (
        namespace text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        owner text COLLATE "C" NOT NULL,
        expires_at double precision NOT NULL,
        value bytea,
        PRIMARY KEY (namespace, key)
    );
    CREATE INDEX stem_keys_by_expiry ON stem_keys (namespace, expires_at);
    """,
    """
    -- Nothing wrote groups before this version. The counts of a group change with every batch of
    -- reports, in no index, so that these are HOT updates. A foreign key would cost a query for each
    -- member; whoever removes a group locks its row, and removes its members in the same transaction.
    DROP TABLE stem_group_members;
    DROP TABLE stem_groups;
    CREATE TABLE stem_groups (
        namespace text COLLATE "C" NOT NULL,
        group_id text COLLATE "C" NOT NULL,
        size integer NOT NULL,
        sealed boolean NOT NULL DEFAULT true,
        done integer NOT NULL DEFAULT 0,
        failed integer NOT NULL DEFAULT 0,
        expires_at double precision NOT NULL,
        claimed_by text COLLATE "C",
        first_failed integer,
        first_error text,
        plan bytea NOT NULL DEFAULT '',
        PRIMARY KEY (namespace, group_id)
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
    CREATE INDEX stem_groups_by_expiry ON stem_groups (namespace, expires_at);
    CREATE TABLE stem_group_members (
        namespace text COLLATE "C" NOT NULL,
        group_id text COLLATE "C" NOT NULL,
        position integer NOT NULL,
        task_id text NOT NULL,
        state text COLLATE "C" NOT NULL,
        value bytea,
        error text,
        PRIMARY KEY (namespace, group_id, position)
    );
    CREATE INDEX stem_group_failures ON stem_group_members (namespace, group_id, position)
        WHERE state <> 'succeeded';
    CREATE TABLE stem_group_expansions (
        namespace text COLLATE "C" NOT NULL,
        group_id text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        first integer NOT NULL,
        PRIMARY KEY (namespace, group_id, name)
    );
    """,
)
"""The script from each schema version to the next: the first creates version 1 in an empty database."""

# The catalogue is queried, since an error would end the transaction, and to_regclass() may return
# what its cache held before another process created the tables.
_EXISTS = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class
    WHERE relname = 'stem_schema' AND pg_catalog.pg_table_is_visible(oid)
)
"""


async def migrate(
    connection: Connection, place: str, migrations: Sequence[str] = MIGRATIONS
) -> None:
    """Create the tables, or bring them up to date.

    Args:
        connection: a connection outside a transaction.
        place: the database, for people.
        migrations: the scripts that lead from an empty database to the current schema.

    Raises:
        ConfigurationError: the server is too old, the schema is too new, or belongs to another program.
        asyncpg.PostgresError: the server refuses.
    """
    server = connection.get_server_version()
    if server.major < OLDEST_SERVER:
        raise ConfigurationError(
            f"the result store {place} is a PostgreSQL {server.major}, and {OLDEST_SERVER} is the"
            " oldest that can be used.\n  Upgrade the server, or use another backend."
        )
    if await _checked_version(connection, place, len(migrations)) == len(migrations):
        return
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        # another process may have migrated while this one waited for the lock
        version = await _checked_version(connection, place, len(migrations))
        try:
            for script in (*migrations[version:], *(() if version else CREATE)):
                await connection.execute(script)
        except asyncpg.DuplicateTableError as error:
            raise ConfigurationError(
                f"{place} has another program's table with a name that stem-amqp needs: {error}.\n"
                "  Give stem-amqp a database of its own, or a schema: ?search_path=stem in"
                " STEM_BACKEND_URL."
            ) from error
        if version < len(migrations):
            await connection.execute("UPDATE stem_schema SET version = $1", len(migrations))


async def _checked_version(connection: Connection, place: str, newest: int) -> int:
    if not await connection.fetchval(_EXISTS):
        return 0
    version: int = await connection.fetchval("SELECT version FROM stem_schema") or 0
    if version > newest:
        raise ConfigurationError(
            f"the result store {place} has schema version {version}, this stem-amqp knows {newest}."
            "\n  Upgrade stem-amqp here, or give this version a database or schema of its own."
        )
    return version


def schema_sql(migrations: Sequence[str] = MIGRATIONS) -> str:
    """Return the whole schema as SQL that creates it in an empty database."""
    set_version = f"UPDATE stem_schema SET version = {len(migrations)};"  # noqa: S608 a number
    return "\n".join(["BEGIN;", *migrations, *CREATE, set_version, "COMMIT;"]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_sql())
