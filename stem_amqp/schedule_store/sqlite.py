"""Schedules in the SQLite file of the result backend, for one machine.

The table is created when schedules are used first. It does not change the version of the file: earlier releases do
not read it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from stem_amqp.results.sqlite.thread import SqliteThread
from stem_amqp.schedule_store.base import PAGE, ScheduleRecord, ScheduleStore, new_revision

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS stem_schedules (
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        definition BLOB,
        state BLOB NOT NULL,
        due REAL,
        revision TEXT NOT NULL,
        PRIMARY KEY (namespace, name)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX IF NOT EXISTS stem_schedules_by_due ON stem_schedules (namespace, due, name)
    WHERE due IS NOT NULL
    """,
)
_FIELDS = "SELECT name, definition, state, due, revision FROM stem_schedules WHERE namespace = ?"
_GET = f"{_FIELDS} AND name = ?"
_PAGE = (
    f"{_FIELDS} AND name > ? AND (? IS NULL OR (definition IS NOT NULL) = ?) ORDER BY name LIMIT ?"
)
_DUE = f"{_FIELDS} AND due < ? ORDER BY due, name LIMIT ?"
_ADD = "INSERT OR IGNORE INTO stem_schedules VALUES (?, ?, ?, ?, ?, ?)"
_CHANGE = (
    "UPDATE stem_schedules SET definition = ?, state = ?, due = ?, revision = ?"
    " WHERE namespace = ? AND name = ? AND revision = ?"
)
_REMOVE = "DELETE FROM stem_schedules WHERE namespace = ? AND name = ? AND revision = ?"


class SqliteSchedules(ScheduleStore):
    """Schedules in a SQLite file.

    Args:
        thread: owns the connection of the result backend.
        namespace: schedules of other namespaces are neither seen nor touched.
    """

    def __init__(self, thread: SqliteThread, namespace: str) -> None:
        self._thread = thread
        self._namespace = namespace

    @override
    async def open(self) -> None:
        def create(connection: sqlite3.Connection) -> None:
            for statement in _TABLES:
                connection.execute(statement)

        await self._thread.write(create)

    @override
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        def read(connection: sqlite3.Connection) -> list[ScheduleRecord | None]:
            rows = (connection.execute(_GET, (self._namespace, name)).fetchone() for name in names)
            return [None if row is None else _record(row) for row in rows]

        return await self._thread.read(read)

    @override
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        def write(connection: sqlite3.Connection) -> list[ScheduleRecord | None]:
            return [self._save(connection, record) for record in records]

        return await self._thread.write(write) if records else []

    def _save(
        self, connection: sqlite3.Connection, record: ScheduleRecord
    ) -> ScheduleRecord | None:
        new = replace(record, revision=new_revision())
        fields = (new.definition, new.state, new.due, new.revision)
        if record.revision:
            place = (self._namespace, record.name, record.revision)
            changed = connection.execute(_CHANGE, (*fields, *place))
        else:
            changed = connection.execute(_ADD, (self._namespace, record.name, *fields))
        return new if changed.rowcount == 1 else None

    @override
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        def write(connection: sqlite3.Connection) -> list[bool]:
            return [
                connection.execute(_REMOVE, (self._namespace, one.name, one.revision)).rowcount == 1
                for one in records
            ]

        return await self._thread.write(write) if records else []

    @override
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        return await self._read(_PAGE, after, dynamic, dynamic, limit)

    @override
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        return await self._read(_DUE, before, limit)

    async def _read(self, statement: str, *values: object) -> list[ScheduleRecord]:
        return await self._thread.read(
            lambda connection: [
                _record(row) for row in connection.execute(statement, (self._namespace, *values))
            ]
        )


def _record(row: tuple[str, bytes | None, bytes, float | None, str]) -> ScheduleRecord:
    name, definition, state, due, revision = row
    return ScheduleRecord(name=name, definition=definition, state=state, due=due, revision=revision)
