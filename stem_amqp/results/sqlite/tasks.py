"""Task records in SQLite. Everything here runs in the backend's one thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from stem_amqp.results.base import ProgressUpdate, TaskRecord, Transition
from stem_amqp.results.records import encode_progress, progress_fields, writable
from stem_amqp.results.sql_listing import SELECT, record_of
from stem_amqp.results.unreadable import readable

# The guard is `states.may_follow` in SQL, so that processes need no lock between reading and writing.
# An expired row counts as missing. The contract tests compare both for every pair of states.
_TRANSITION = """
INSERT INTO stem_tasks (
    task_id, state, attempt, replay, created_at, updated_at, expires_at, next_run, task, queue,
    worker, reason, error, meta, traceback, result
) VALUES (
    :task_id, :state, :attempt, :replay, :at, :at, :expires_at, :next_run, :task, :queue,
    :worker, :reason, :error, :meta, :traceback, :result
)
ON CONFLICT (task_id) DO UPDATE SET
    state = excluded.state,
    attempt = excluded.attempt,
    replay = excluded.replay,
    created_at = CASE WHEN stem_tasks.expires_at <= :now
        THEN excluded.created_at ELSE stem_tasks.created_at END,
    updated_at = excluded.updated_at,
    expires_at = excluded.expires_at,
    next_run = excluded.next_run,
    task = excluded.task,
    queue = excluded.queue,
    worker = excluded.worker,
    reason = excluded.reason,
    error = excluded.error,
    progress = CASE WHEN stem_tasks.expires_at <= :now OR excluded.state IN ('queued', 'running')
        THEN NULL ELSE stem_tasks.progress END,
    meta = excluded.meta,
    traceback = excluded.traceback,
    result = excluded.result
WHERE stem_tasks.expires_at <= :now
   OR stem_tasks.state <> 'succeeded' AND (
        excluded.replay > stem_tasks.replay
        OR excluded.replay = stem_tasks.replay
            AND stem_tasks.state NOT IN ('failed', 'expired', 'revoked')
            AND excluded.state <> 'queued'
            AND excluded.attempt >= stem_tasks.attempt
   )
"""

_PROGRESS = """
UPDATE stem_tasks SET progress = :progress, expires_at = :expires_at
WHERE task_id = :task_id AND expires_at > :now
  AND state NOT IN ('succeeded', 'failed', 'expired', 'revoked')
"""

_SELECT = SELECT + "expires_at > :now "
_SELECT_ONE = _SELECT + "AND task_id = :task_id"
_SELECT_ENDED = f"""{_SELECT} AND state IN ('succeeded', 'failed', 'expired', 'revoked')
  AND task_id IN (%s)
"""
_IDS_AT_ONCE = 500
"""Task ids in one query; SQLite before 3.32 allows 999 parameters."""

_PURGE = """
DELETE FROM stem_tasks WHERE rowid IN (
    SELECT rowid FROM stem_tasks WHERE expires_at <= :now LIMIT :limit
)
"""


def store_transitions(
    connection: sqlite3.Connection, changes: Iterable[Transition], now: float
) -> list[bool]:
    """Store changes in the given order, and return for each whether it was accepted."""
    execute = connection.execute
    return [execute(_TRANSITION, _row(change, now)).rowcount == 1 for change in changes]


def store_progress(
    connection: sqlite3.Connection, updates: Iterable[ProgressUpdate], now: float
) -> None:
    """Store progress; progress of tasks that are unknown or have ended is ignored."""
    rows = [
        {
            "task_id": update.task_id,
            "progress": encode_progress(progress_fields(update.progress)),
            "expires_at": now + update.ttl,
            "now": now,
        }
        for update in updates
    ]
    connection.executemany(_PROGRESS, rows)


def fetch(connection: sqlite3.Connection, task_id: str, now: float) -> TaskRecord | None:
    """Return a record, or None if there is none (any more)."""
    row = connection.execute(_SELECT_ONE, {"task_id": task_id, "now": now}).fetchone()
    return None if row is None else readable(task_id, lambda: record_of(row))


def fetch_ended(
    connection: sqlite3.Connection, task_ids: Sequence[str], now: float
) -> list[TaskRecord]:
    """Return the records of the given tasks that have ended."""
    records = []
    for start in range(0, len(task_ids), _IDS_AT_ONCE):
        # parameters instead of a JSON array: json_each() ends a string at its first NUL
        ids = {f"id{n}": one for n, one in enumerate(task_ids[start : start + _IDS_AT_ONCE])}
        places = ", ".join(f":{name}" for name in ids)
        for row in connection.execute(_SELECT_ENDED % places, {**ids, "now": now}):
            record = readable(row[0], lambda row=row: record_of(row))  # type: ignore[misc]
            if record is not None:
                records.append(record)
    return records


def purge(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Remove at most `limit` expired records, and return their number."""
    return connection.execute(_PURGE, {"now": now, "limit": limit}).rowcount


def _row(change: Transition, now: float) -> dict[str, Any]:
    return {
        "task_id": change.task_id,
        "state": change.state.value,
        "attempt": change.attempt,
        "replay": change.replay,
        "at": change.at,
        "expires_at": now + change.ttl,
        "next_run": change.next_run,
        "task": change.task,
        "queue": change.queue,
        "worker": change.worker,
        "reason": writable(change.reason),
        "error": writable(change.error),
        "meta": orjson.dumps(change.meta) if change.meta else None,
        "traceback": writable(change.traceback),
        "result": change.result,
        "now": now,
    }
