"""What result backends take and give: changes of tasks, progress, records of tasks, groups and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.states import TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a running task is.

    Args:
        fraction: 0 to 1, or None where the task only says that it is alive.
        message: for people.
        data: for programs, JSON values.
        at: seconds since the epoch.
    """

    fraction: float | None = None
    message: str | None = None
    data: Any = None
    at: float = 0.0


# not frozen: there is one for each task, and a frozen one takes four times as long to make
@dataclass(kw_only=True, slots=True)
class Transition:
    """A change of a task's record. The store accepts it only if `states.may_follow` allows it.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: the new state.
        attempt: 0 for the first run.
        replay: how often the task was replayed from the dead-letter queue.
        at: seconds since the epoch.
        worker: the worker that made it.
        result: the JSON bytes of the return value; with ``succeeded``.
        reason: why it ended or waits, such as ``retries-exhausted``.
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
    """Progress of a task to store. It changes no state, and none of a task that has ended.

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
    """What a backend knows of a task.

    Args:
        task_id: the task.
        task: the task's name.
        queue: the logical queue.
        state: where it stands.
        attempt: 0 for the first run.
        replay: how often it was replayed from the dead-letter queue.
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
class GroupRecord:
    """What a backend knows of a group of tasks.

    Args:
        group_id: the group.
        size: number of its members.
        members: task id to the final state it was reported with.
        claimed_by: who claimed the completed group, or None.
    """

    group_id: str
    size: int
    members: Mapping[str, TaskState] = field(default_factory=dict)
    claimed_by: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every member has been reported."""
        return len(self.members) >= self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRecord:
    """Who holds a key.

    Args:
        owner: who holds it.
        value: what the owner has put there; from then on the key changes hands no more.
        remaining: seconds until it is forgotten.
    """

    owner: str
    value: bytes | None = None
    remaining: float = 0.0
