"""Lists of tasks in PostgreSQL."""

from __future__ import annotations

from typing import Any

from stem_amqp.results.listing import Position, TaskQuery, canonical
from stem_amqp.results.model import TaskRecord
from stem_amqp.results.postgres.pool import Connection
from stem_amqp.results.postgres.tasks import record_of
from stem_amqp.results.postgres.text import stored
from stem_amqp.results.sql_listing import (
    BY_STATE,
    COUNT,
    SELECT,
    conditions,
    counted,
    order,
    place_of,
)
from stem_amqp.results.unreadable import Unread, read_rows
from stem_amqp.states import TaskState

_NUL = "\\u0000"
"""A NUL in JSON. PostgreSQL's ``json`` accepts it; ``jsonb`` raises an error."""
_NO_JSONB = r"\\u(0000|[dD][89a-fA-F])|[eE][+-]?[0-9]{4}"
"""Matches what ``json`` accepts and ``jsonb`` does not: NULs, lone surrogates, huge numbers."""


async def find(
    connection: Connection,
    namespace: str,
    query: TaskQuery,
    *,
    after: Position | None,
    limit: int,
    now: float,
) -> list[TaskRecord | Unread]:
    """Return rows after a position; conditions on globs and metadata may match too much."""
    where, values = _where(namespace, query, after, now)
    rows = await connection.fetch(SELECT + where + order(query) + str(limit), *values)
    return read_rows(rows, record_of, place_of)


async def count(
    connection: Connection, namespace: str, query: TaskQuery, now: float
) -> dict[TaskState, int]:
    """Count rows by their state; the query must not have globs or metadata."""
    where, values = _where(namespace, query, None, now)
    rows = await connection.fetch(COUNT + where + BY_STATE, *values)
    return counted(rows)


def _where(
    namespace: str, query: TaskQuery, after: Position | None, now: float
) -> tuple[str, list[Any]]:
    values: list[Any] = []

    def mark(value: Any) -> str:
        values.append(stored(value) if isinstance(value, str) else value)
        return f"${len(values)}"

    every = [
        f"namespace = {mark(namespace)}",
        f"expires_at > {mark(now)}",
        *conditions(query, after, mark),
    ]
    if query.meta:
        every.append(_meta(canonical(query.meta).decode(), mark))
    return " AND ".join(every), values


def _meta(wanted: str, mark: Any) -> str:
    if _NUL in wanted:
        return "meta IS NOT NULL"
    return (
        f"CASE WHEN meta IS NULL THEN false WHEN meta::text ~ '{_NO_JSONB}' THEN true"
        f" ELSE meta::jsonb @> {mark(wanted)}::jsonb END"
    )
