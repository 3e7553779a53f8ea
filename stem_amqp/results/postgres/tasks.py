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
from stem_amqp.results.postgres.batch import Step, rounds
from stem_amqp.results.postgres.pool import Connection
from stem_amqp.results.postgres.text import NUL, original, original_or_none, stored, stored_or_none
from stem_amqp.results.records import encode_progress, progress_fields
from stem_amqp.results.unreadable import readable

# The guard is `states.may_follow` in SQL, so that writers need no lock between reading and writing.
# An expired row counts as missing. The contract tests compare both for every pair of states.
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

# The rows are locked in order first: an UPDATE alone locks them in the order in which it finds them.
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

# Rows that another transaction is writing or removing are left for the next purge.
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
    """Store changes in the given order, and return for each whether it was accepted."""
    accepted = [False] * len(changes)
    planned = rounds(changes)
    async with connection.transaction() if len(planned) > 1 else nullcontext():
        for steps in planned:
            rows = await connection.fetch(_TRANSITION, namespace, now, *_columns(steps, now))
            written = {original(row[0]) for row in rows}
            for step in steps:
                if step.task_id in written:
                    for position in step.positions:
                        accepted[position] = True
    return accepted


async def store_progress(
    connection: Connection, namespace: str, updates: Sequence[ProgressUpdate], now: float
) -> None:
    """Store progress; progress of tasks that are unknown or have ended is ignored."""
    last = sorted({update.task_id: update for update in updates}.values(), key=_task_id)
    await connection.execute(
        _PROGRESS,
        namespace,
        now,
        [stored(update.task_id) for update in last],
        [encode_progress(progress_fields(update.progress)).decode() for update in last],
        [now + update.ttl for update in last],
    )


async def fetch(
    connection: Connection, namespace: str, task_id: str, now: float
) -> TaskRecord | None:
    """Return a record, or None if there is none (any more)."""
    row = await connection.fetchrow(_SELECT_ONE, namespace, now, stored(task_id))
    return None if row is None else readable(task_id, lambda: record_of(row))


async def fetch_ended(
    connection: Connection, namespace: str, task_ids: Sequence[str], now: float
) -> list[TaskRecord]:
    """Return the records of the given tasks that have ended."""
    rows = await connection.fetch(_SELECT_ENDED, namespace, now, list(map(stored, task_ids)))
    read = (readable(row[0], lambda row=row: record_of(row)) for row in rows)  # type: ignore[misc]
    return [record for record in read if record is not None]


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most `limit` expired records, and return their number."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))


_task_id = attrgetter("task_id")


def _columns(steps: Sequence[Step], now: float) -> list[list[Any]]:
    changes = [step.change for step in steps]
    return [
        [stored(step.task_id) for step in steps],
        [change.state.value for change in changes],
        [change.attempt for change in changes],
        [change.replay for change in changes],
        [step.created_at for step in steps],
        [change.at for change in changes],
        [step.started_at for step in steps],
        [change.next_run for change in changes],
        [now + change.ttl for change in changes],
        [stored(change.task) for change in changes],
        [stored(change.queue) for change in changes],
        [stored_or_none(change.worker) for change in changes],
        [stored_or_none(change.reason) for change in changes],
        [stored_or_none(change.error) for change in changes],
        [stored_or_none(change.traceback) for change in changes],
        [orjson.dumps(change.meta).decode() if change.meta else None for change in changes],
        [change.result for change in changes],
    ]


def record_of(row: Sequence[Any]) -> TaskRecord:
    """Return a row of `sql_listing.SELECT` as a record."""
    record = sql_listing.record_of(row)
    texts = (record.task_id, record.task, record.queue, record.worker)
    if not any(
        NUL in (text or "") for text in (*texts, record.reason, record.error, record.traceback)
    ):
        return record
    return replace(
        record,
        task_id=original(record.task_id),
        task=original(record.task),
        queue=original(record.queue),
        worker=original_or_none(record.worker),
        reason=original_or_none(record.reason),
        error=original_or_none(record.error),
        traceback=original_or_none(record.traceback),
    )
