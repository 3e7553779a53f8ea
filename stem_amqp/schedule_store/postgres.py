"""Schedules in PostgreSQL; the first process that uses schedules creates the table.

It does not change the version of the result backend's schema: earlier releases do not use it.
``python -m stem_amqp.schedule_store.postgres`` prints the SQL, for an owner to create it by hand where the
application's role lacks the right.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from stem_amqp.results.postgres.extra import ExtraTables
from stem_amqp.results.postgres.pool import Connection, PostgresPool
from stem_amqp.schedule_store.base import PAGE, ScheduleRecord, ScheduleStore, new_revision

TABLE = """
CREATE TABLE IF NOT EXISTS stem_schedules (
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    definition bytea,
    state bytea NOT NULL,
    due double precision,
    revision text NOT NULL,
    PRIMARY KEY (namespace, name)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX IF NOT EXISTS stem_schedules_by_due ON stem_schedules (namespace, due, name)
    WHERE due IS NOT NULL;
"""
_FOUND = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_class
    WHERE relname = 'stem_schedules_by_due' AND pg_catalog.pg_table_is_visible(oid))
"""
_FIELDS = "SELECT s.name, s.definition, s.state, s.due, s.revision FROM stem_schedules AS s"
_GET = f"{_FIELDS} WHERE s.namespace = $1 AND s.name = ANY ($2::text[])"
_PAGE = f"""{_FIELDS} WHERE s.namespace = $1 AND s.name > $2
AND ($3::boolean IS NULL OR (s.definition IS NOT NULL) = $3) ORDER BY s.name LIMIT $4"""
_DUE = f"{_FIELDS} WHERE s.namespace = $1 AND s.due < $2 ORDER BY s.due, s.name LIMIT $3"
_SAVE = """
WITH given AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::float8[])
        AS g (name, expected, revision, definition, state, due)
), changed AS (
    UPDATE stem_schedules AS s
    SET definition = g.definition, state = g.state, due = g.due, revision = g.revision
    FROM given AS g
    WHERE s.namespace = $1 AND s.name = g.name AND s.revision = g.expected
    RETURNING s.name
), added AS (
    INSERT INTO stem_schedules (namespace, name, definition, state, due, revision)
    SELECT $1, name, definition, state, due, revision FROM given WHERE expected = ''
    ON CONFLICT DO NOTHING
    RETURNING name
)
SELECT name FROM changed UNION ALL SELECT name FROM added
"""
_REMOVE = """
DELETE FROM stem_schedules AS s USING unnest($2::text[], $3::text[]) AS g (name, revision)
WHERE s.namespace = $1 AND s.name = g.name AND s.revision = g.revision
RETURNING s.name
"""


async def _exist(connection: Connection) -> bool:
    return bool(await connection.fetchval(_FOUND))


_EXTRA = ExtraTables(
    what="the table of schedules",
    names="stem_schedules",
    module="stem_amqp.schedule_store.postgres",
    sql=TABLE,
    exist=_exist,
)


class PostgresSchedules(ScheduleStore):
    """Schedules in a PostgreSQL database.

    Args:
        pool: the connections of the result backend.
        namespace: schedules of other namespaces are neither seen nor touched.
    """

    def __init__(self, pool: PostgresPool, namespace: str) -> None:
        self._pool = pool
        self._namespace = namespace

    @override
    async def open(self) -> None:
        await _EXTRA.open(self._pool)

    @override
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        found = {row[0]: _record(row) for row in await self._fetch(_GET, list(names))}
        return [found.get(name) for name in names]

    @override
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        if not records:
            return []
        new = [replace(record, revision=new_revision()) for record in records]
        rows = await self._fetch(
            _SAVE,
            [one.name for one in new],
            [one.revision for one in records],
            [one.revision for one in new],
            [one.definition for one in new],
            [one.state for one in new],
            [one.due for one in new],
        )
        done = {row[0] for row in rows}
        return [one if one.name in done else None for one in new]

    @override
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        if not records:
            return []
        names, revisions = zip(*[(one.name, one.revision) for one in records], strict=True)
        done = {row[0] for row in await self._fetch(_REMOVE, list(names), list(revisions))}
        return [name in done for name in names]

    @override
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        return [_record(row) for row in await self._fetch(_PAGE, after, dynamic, limit)]

    @override
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        return [_record(row) for row in await self._fetch(_DUE, before, limit)]

    async def _fetch(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return await _EXTRA.fetch(self._pool, statement, self._namespace, *arguments)


def _record(row: tuple[Any, ...]) -> ScheduleRecord:
    name, definition, state, due, revision = row
    return ScheduleRecord(name=name, definition=definition, state=state, due=due, revision=revision)


if __name__ == "__main__":
    sys.stdout.write(TABLE)
