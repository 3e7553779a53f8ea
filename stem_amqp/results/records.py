"""Apply changes to a task's record: pure functions, the same for every backend."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from stem_amqp.results.base import Progress, TaskRecord, Transition
from stem_amqp.states import TaskState, may_follow

log = logging.getLogger("stem_amqp.results")

NEW_RUN = frozenset({TaskState.QUEUED, TaskState.RUNNING})
"""States in which a run begins: the progress of the run before no longer applies."""

PURGE_INTERVAL = 60.0
"""Seconds between two removals of expired records by a store that is written to."""


def changed(current: TaskRecord | None, change: Transition) -> TaskRecord | None:
    """Apply a change to a record.

    Args:
        current: the stored record, or None for an unknown task.
        change: the change.

    Returns:
        The new record, or None if the change would set the task back.
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
    """Return a text with lone surrogates escaped, so that it can be stored.

    Error texts contain them where a file name was not UTF-8; JSON and SQLite reject them.
    """
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Return the JSON fields of progress."""
    return {
        "fraction": progress.fraction,
        "message": writable(progress.message),
        "data": progress.data,
        "at": progress.at,
    }


def encode_progress(fields: dict[str, Any]) -> bytes:
    """Encode JSON that contains progress; it never fails, since progress is only informative.

    Args:
        fields: the values; those that JSON cannot represent are written as their `repr`.
    """
    try:
        return orjson.dumps(fields, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        log.warning("progress data cannot be written as JSON and is left out: %s", error)
        return orjson.dumps({**fields, "data": None})
