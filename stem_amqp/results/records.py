"""What becomes of a task's record when a change arrives: pure, and the same in every backend."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from stem_amqp.results.base import Progress, TaskRecord, Transition
from stem_amqp.states import TaskState, may_follow

log = logging.getLogger("stem_amqp.results")

NEW_RUN = frozenset({TaskState.QUEUED, TaskState.RUNNING})
"""States with which a run begins: the progress of the run before is no longer true."""

PURGE_INTERVAL = 60.0
"""Seconds after which a store that is written to removes by itself what has expired."""


def changed(current: TaskRecord | None, change: Transition) -> TaskRecord | None:
    """Apply a change to a record.

    Args:
        current: the record as stored, or None for an unknown task.
        change: the change.

    Returns:
        The new record, or None if the change would go backwards.
    """
    before = None if current is None else (current.replay, current.state, current.attempt)
    if not may_follow(before, (change.replay, change.state, change.attempt)):
        return None
    keeps_progress = current is not None and change.state not in NEW_RUN
    return TaskRecord(
        task_id=change.task_id,
        task=change.task,
        queue=change.queue,
        state=change.state,
        attempt=change.attempt,
        replay=change.replay,
        created_at=change.at if current is None else current.created_at,
        updated_at=change.at,
        worker=change.worker,
        result=change.result,
        reason=change.reason,
        error=change.error,
        traceback=change.traceback,
        next_run=change.next_run,
        meta=change.meta,
        progress=current.progress if current is not None and keeps_progress else None,
    )


def writable(text: str | None) -> str | None:
    """Return a text as it can be stored: lone surrogates are escaped.

    Error texts carry them where a file name was no UTF-8, and neither JSON nor SQLite takes them.
    """
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Return progress as it is written as JSON."""
    return {
        "fraction": progress.fraction,
        "message": writable(progress.message),
        "data": progress.data,
        "at": progress.at,
    }


def encode_progress(fields: dict[str, Any]) -> bytes:
    """Write JSON that has progress in it; its data is for information, so it never fails.

    Args:
        fields: the values; what JSON cannot carry is written as its `repr`.
    """
    try:
        return orjson.dumps(fields, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        log.warning("progress data cannot be written as JSON and is left out: %s", error)
        return orjson.dumps({**fields, "data": None})
