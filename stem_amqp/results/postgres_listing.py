"""Lists of tasks in PostgreSQL."""

from __future__ import annotations

from typing import Any

from stem_amqp.results.listing import Position, TaskQuery, canonical
from stem_amqp.results.model import TaskRecord
from stem_amqp.results.postgres_pool import Connection
from stem_amqp.results.postgres_tasks import record_of
from stem_amqp.results.sql_listing import BY_STATE, COUNT, SELECT, conditions, order
from stem_amqp.states import TaskState

_NUL = "\\u0000"
"""A NUL as JSON has it. PostgreSQL's ``json`` takes it; ``jsonb`` does not, and fails."""


async def find(
    connection: Connection,
    namespace: str,
    query: TaskQuery,
    *,
    after: Position | None,
    limit: int,
    now: float,
) -> list[TaskRecord]:
    """Return rows after a place; globs and metadata may let more through than they mean."""
    where, values = _where(namespace, query, after, now)
    rows = await connection.fetch(SELECT + where + order(query) + str(limit), *values)
    return [record_of(row) for row in rows]


async def count(
    connection: Connection, namespace: str, query: TaskQuery, now: float
) -> dict[TaskState, int]:
    """Count rows by their state; globs and metadata must be no part of the query."""
    where, values = _where(namespace, query, None, now)
    rows = await connection.fetch(COUNT + where + BY_STATE, *values)
    return {TaskState(row[0]): row[1] for row in rows}


def _where(
    namespace: str, query: TaskQuery, after: Position | None, now: float
) -> tuple[str, list[Any]]:
    values: list[Any] = []

    def mark(value: Any) -> str:
        values.append(value)
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
        f"CASE WHEN meta IS NULL THEN false WHEN strpos(meta::text, '{_NUL}') > 0 THEN true"
        f" ELSE meta::jsonb @> {mark(wanted)}::jsonb END"
    )
