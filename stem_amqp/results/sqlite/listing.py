"""Lists of tasks in SQLite. Everything here runs in the backend's one thread."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from stem_amqp.results.listing import Position, TaskQuery, has_meta
from stem_amqp.results.model import TaskRecord
from stem_amqp.results.sql_listing import (
    BY_STATE,
    COUNT,
    SELECT,
    conditions,
    counted,
    order,
    place_of,
    record_of,
)
from stem_amqp.results.unreadable import Unread, read_rows
from stem_amqp.states import TaskState

_HAS_META = "stem_has_meta"


def find(
    connection: sqlite3.Connection,
    query: TaskQuery,
    *,
    after: Position | None,
    limit: int,
    now: float,
) -> list[TaskRecord | Unread]:
    """Return rows after a position; conditions on globs may match slightly too much."""
    where, values = _where(connection, query, after, now)
    rows = connection.execute(SELECT + where + order(query) + "?", [*values, limit])
    return read_rows(rows, record_of, place_of)


def count(connection: sqlite3.Connection, query: TaskQuery, now: float) -> dict[TaskState, int]:
    """Count rows by their state; the query must not have globs."""
    where, values = _where(connection, query, None, now)
    rows = connection.execute(COUNT + where + BY_STATE, values)
    return counted(rows)


def _where(
    connection: sqlite3.Connection, query: TaskQuery, after: Position | None, now: float
) -> tuple[str, list[Any]]:
    values: list[Any] = []

    def mark(value: Any) -> str:
        values.append(value)
        return "?"

    # The sign prevents SQLite from using the index on the expiry, which has another order.
    every = [f"+expires_at > {mark(now)}", *conditions(query, after, mark)]
    if query.meta:
        wanted = query.meta

        def fits(meta: bytes) -> bool:
            try:
                return has_meta(orjson.loads(meta), wanted)
            except (TypeError, ValueError, AttributeError):
                return True  # unreadable metadata is reported when the row is read

        connection.create_function(_HAS_META, 1, fits, deterministic=True)
        every.append(f"meta IS NOT NULL AND {_HAS_META}(meta)")
    return " AND ".join(every), values
