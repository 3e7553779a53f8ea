"""The interface through which the executor reports what happens to runs."""

from __future__ import annotations

from typing import Protocol

from stem_amqp.messages.message import TaskMessage
from stem_amqp.results.base import Progress
from stem_amqp.states import TaskState
from stem_amqp.worker.job import Job


class Watcher(Protocol):
    """Observes runs, and returns what is known about other deliveries."""

    async def started(self, job: Job) -> None:
        """Handle that the task's function is about to be called."""
        ...

    def progressed(self, job: Job, progress: Progress) -> None:
        """Handle progress that the task reported; called in the event loop."""
        ...

    def revoked(self, message: TaskMessage, queue: str, /) -> str | None:
        """Return why a task is revoked, or None if it is not.

        Args:
            message: the task's message.
            queue: the logical queue that it is in.
        """
        ...

    async def processed_state(self, job: Job) -> TaskState | None:
        """Return the state that another delivery of the message led to; None if this one runs."""
        ...

    async def ended(self, job: Job, *, settled: bool) -> None:
        """Handle that a job has ended.

        Args:
            job: the job.
            settled: whether its outcome is settled.
        """
        ...
