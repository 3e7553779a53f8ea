"""Task records in PostgreSQL: one statement for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from operator import attrgetter
from typing import Any

import orjson

from stem_amqp.results import sql_listing
from stem_amqp.results.base import ProgressUpdate, TaskRecord, Transition
from stem_amqp.results.postgres_batch import Step, rounds
from stem_amqp.results.postgres_pool import Connection
from stem_amqp.results.records import encode_progress, progress_fields, writable

_NUL = "\ufdd0"
"""Stands for a NUL, which PostgreSQL takes in no text: a code point that is for no interchange."""

# The guard is `states.may_follow` in SQL, so that writers need no lock between reading and writing.
# A row past its TTL counts as none. The contract tests compare the two for every pair.
_TRANSITION = """
INSERT INTO stem_tasks AS old (
    namespace, task_id, state, attempt, replay, created_at, updated_at, started_at, next_run,
    expires_at, task, queue, worker, reason, error, traceback, meta, result
)
SELECT $1, task_id, state, attempt, replay, created_at, updated_at, started_at, next_run,
    expires_at, task, queue, worker, reason, error, traceback, meta, result
FROM unnest(
    $3::text[], $4::text[], $5::integer[], $6::integer[], $7::float8[], $8::float8[],
    $9::float8[], $10::float8[], $11::float8[], $12::text[], $13::text[], $14::text[],
    $15::text[], $16::text[], $17::text[], $18::json[], $19::bytea[]
) AS new (
    task_id, state, attempt, replay, created_at, updated_at, started_at, next_run,
    expires_at, task, queue, worker, reason, error, traceback, meta, result
)
ON CONFLICT (namespace, task_id) DO UPDATE SET
    state = excluded.state,
    attempt = excluded.attempt,
    replay = excluded.replay,
    created_at = CASE WHEN old.expires_at <= $2 THEN excluded.created_at ELSE old.created_at END,
    updated_at = excluded.updated_at,
    started_at = CASE WHEN old.expires_at <= $2 OR excluded.state = 'queued'
        THEN excluded.started_at ELSE coalesce(excluded.started_at, old.started_at) END,
    next_run = excluded.next_run,
    expires_at = excluded.expires_at,
    task = excluded.task,
    queue = excluded.queue,
    worker = excluded.worker,
    reason = excluded.reason,
    error = excluded.error,
    traceback = excluded.traceback,
    meta = excluded.meta,
    progress = CASE WHEN old.expires_at <= $2 OR excluded.state = 'queued'
        OR excluded.started_at IS NOT NULL THEN NULL ELSE old.progress END,
    result = excluded.result
WHERE old.expires_at <= $2
   OR old.state <> 'succeeded' AND (
        excluded.replay > old.replay
        OR excluded.replay = old.replay
            AND old.state NOT IN ('failed', 'expired', 'revoked')
            AND excluded.state <> 'queued'
            AND excluded.attempt >= old.attempt
   )
RETURNING task_id
"""

# Locked in their order first: an UPDATE alone would lock them in the order in which it finds them.
_PROGRESS = """
WITH running AS (
    SELECT task_id FROM stem_tasks
    WHERE namespace = $1 AND task_id = ANY ($3::text[]) AND expires_at > $2
      AND state NOT IN ('succeeded', 'failed', 'expired', 'revoked')
    ORDER BY task_id FOR NO KEY UPDATE
)
UPDATE stem_tasks AS old SET progress = new.progress, expires_at = new.expires_at
FROM unnest($3::text[], $4::json[], $5::float8[]) AS new (task_id, progress, expires_at)
JOIN running USING (task_id)
WHERE old.namespace = $1 AND old.task_id = new.task_id
"""

_SELECT = sql_listing.SELECT + "namespace = $1 AND expires_at > $2 "
_SELECT_ONE = _SELECT + "AND task_id = $3"
_SELECT_ENDED = (
    _SELECT
    + "AND task_id = ANY ($3::text[]) AND state IN ('succeeded', 'failed', 'expired', 'revoked')"
)

# Rows that somebody else is writing or removing are left to the next time.
_PURGE = """
WITH expired AS MATERIALIZED (
    SELECT task_id FROM stem_tasks
    WHERE namespace = $1 AND expires_minute <= floor($2::float8 / 60)::bigint AND expires_at <= $2
    ORDER BY expires_minute LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM stem_tasks USING expired
    WHERE stem_tasks.namespace = $1 AND stem_tasks.task_id = expired.task_id
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def store_transitions(
    connection: Connection, namespace: str, changes: Sequence[Transition], now: float
) -> list[bool]:
    """Store changes, in the given order, and return for each whether it was accepted."""
    accepted = [False] * len(changes)
    planned = rounds(changes)
    async with connection.transaction() if len(planned) > 1 else nullcontext():
        for steps in planned:
            rows = await connection.fetch(_TRANSITION, namespace, now, *_columns(steps, now))
            stored = {row[0] for row in rows}
            for step in steps:
                if step.task_id in stored:
                    for position in step.positions:
                        accepted[position] = True
    return accepted


async def store_progress(
    connection: Connection, namespace: str, updates: Sequence[ProgressUpdate], now: float
) -> None:
    """Store progress; that of tasks that are unknown or have ended is ignored."""
    last = sorted({update.task_id: update for update in updates}.values(), key=_task_id)
    await connection.execute(
        _PROGRESS,
        namespace,
        now,
        [update.task_id for update in last],
        [encode_progress(progress_fields(update.progress)).decode() for update in last],
        [now + update.ttl for update in last],
    )


async def fetch(
    connection: Connection, namespace: str, task_id: str, now: float
) -> TaskRecord | None:
    """Return a record, or None if there is none (any more)."""
    row = await connection.fetchrow(_SELECT_ONE, namespace, now, task_id)
    return None if row is None else record_of(row)


async def fetch_ended(
    connection: Connection, namespace: str, task_ids: Sequence[str], now: float
) -> list[TaskRecord]:
    """Return the records of those of some tasks that have ended."""
    return [
        record_of(row) for row in await connection.fetch(_SELECT_ENDED, namespace, now, task_ids)
    ]


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most so many expired records, and return how many that were."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))


_task_id = attrgetter("task_id")


def _columns(steps: Sequence[Step], now: float) -> list[list[Any]]:
    changes = [step.change for step in steps]
    return [
        [step.task_id for step in steps],
        [change.state.value for change in changes],
        [change.attempt for change in changes],
        [change.replay for change in changes],
        [step.created_at for step in steps],
        [change.at for change in changes],
        [step.started_at for step in steps],
        [change.next_run for change in changes],
        [now + change.ttl for change in changes],
        [change.task for change in changes],
        [change.queue for change in changes],
        [change.worker for change in changes],
        [_text(change.reason) for change in changes],
        [_text(change.error) for change in changes],
        [_text(change.traceback) for change in changes],
        [orjson.dumps(change.meta).decode() if change.meta else None for change in changes],
        [change.result for change in changes],
    ]


def _text(text: str | None) -> str | None:
    if text is None:
        return None
    return (writable(text) or "").replace("\0", _NUL)


def _original(text: str | None) -> str | None:
    return text if text is None else text.replace(_NUL, "\0")


def record_of(row: Sequence[Any]) -> TaskRecord:
    """Return a row of `sql_listing.SELECT` as a record."""
    record = sql_listing.record_of(row)
    if not any(_NUL in (text or "") for text in (record.reason, record.error, record.traceback)):
        return record
    return replace(
        record,
        reason=_original(record.reason),
        error=_original(record.error),
        traceback=_original(record.traceback),
    )
