"""Data of result backends: changes and progress of tasks; records of tasks and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.states import TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running task is.

    Args:
        fraction: 0 to 1, or None if the task only reports that it is alive.
        message: for people.
        data: for programs, JSON values.
        at: seconds since the epoch.
    """

    fraction: float | None = None
    message: str | None = None
    data: Any = None
    at: float = 0.0


# not frozen: one is created for each change of each task, and a frozen one takes four times as long
@dataclass(kw_only=True, slots=True)
class Transition:
    """A change of a task's record. The store accepts it only if `states.may_follow` allows it.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: the new state.
        attempt: 0 for the first run.
        replay: number of times that the task was replayed from the dead-letter queue.
        at: seconds since the epoch.
        worker: the worker that made the change.
        result: the JSON bytes of the return value; with ``succeeded``.
        reason: why the task ended or waits, such as ``retries-exhausted``.
        error: type and message of the last exception.
        traceback: the worker's traceback as text.
        next_run: seconds since the epoch of the next run; with ``retrying`` and ``snoozed``.
        meta: the caller's metadata.
        ttl: seconds that the record is kept after this change.
        reply_to: where the producer waits for replies, for backends that reply.
    """

    task_id: str
    task: str
    queue: str
    state: TaskState
    attempt: int = 0
    replay: int = 0
    at: float
    worker: str | None = None
    result: bytes | None = None
    reason: str | None = None
    error: str | None = None
    traceback: str | None = None
    next_run: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    ttl: float = 86400.0
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressUpdate:
    """Progress of a task to store. It changes no state, and is ignored for a task that has ended.

    Args:
        task_id: the task.
        progress: how far it is.
        ttl: seconds that the record is kept after this change.
        reply_to: where the producer waits for replies, for backends that reply.
    """

    task_id: str
    progress: Progress
    ttl: float = 86400.0
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRecord:
    """The record of a task in a backend.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: the task's state.
        attempt: 0 for the first run.
        replay: number of times that it was replayed from the dead-letter queue.
        created_at: seconds since the epoch of the first change that was stored.
        updated_at: of the last one.
        worker: the worker that made the last change.
        result: the JSON bytes of the return value, if it succeeded.
        reason: why it ended or waits.
        error: type and message of the last exception.
        traceback: the worker's traceback as text.
        next_run: seconds since the epoch of the next run.
        meta: the caller's metadata.
        progress: the last progress, if there was any.
    """

    task_id: str
    task: str
    queue: str
    state: TaskState
    attempt: int
    replay: int
    created_at: float
    updated_at: float
    worker: str | None = None
    result: bytes | None = None
    reason: str | None = None
    error: str | None = None
    traceback: str | None = None
    next_run: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """The record of a key.

    Args:
        owner: the owner that holds the key.
        value: the value that the owner stored; from then on the key keeps its owner.
        remaining: seconds until the key expires.
    """

    owner: str
    value: bytes | None = None
    remaining: float = 0.0
