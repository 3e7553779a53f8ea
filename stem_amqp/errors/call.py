"""Errors of calls and of their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stem_amqp.errors.base import StemError

if TYPE_CHECKING:
    from collections.abc import Mapping


class EnqueueManyError(StemError):
    """Some calls of a bulk enqueue were not confirmed by the broker.

    Args:
        done: the handles of the confirmed calls, by position.
        failed: the errors of the other calls, by position.
    """

    def __init__(self, done: Mapping[int, Any], failed: Mapping[int, Exception]) -> None:
        first = min(failed)
        super().__init__(
            f"{len(failed)} of {len(failed) + len(done)} calls were not enqueued;"
            f" the first, at position {first}: {failed[first]}"
        )
        self.done = done
        self.failed = failed


class DuplicateTaskError(StemError):
    """An equal call of a unique or throttled task is already enqueued, so this call was not.

    Args:
        task: the task's name.
        task_id: the id of the first task.
    """

    def __init__(self, task: str, task_id: str) -> None:
        super().__init__(
            f"an equal call of task {task} is already enqueued, or was within the window: {task_id}"
        )
        self.task = task
        self.task_id = task_id


class DeadLetterNotFoundError(StemError):
    """The dead-letter queue has no message with that id."""
