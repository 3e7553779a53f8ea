"""The handle of a task that blocking code has enqueued."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from stem_amqp.blocking.ask import Asks
from stem_amqp.connected import Connected
from stem_amqp.durations import Duration, seconds
from stem_amqp.results.base import Progress, TaskRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.states import TaskState

R = TypeVar("R")
T = TypeVar("T")


class BlockingHandle(Generic[R]):
    """An enqueued task, with its result and state for code that cannot await.

    Args:
        producer: the producer whose connections the handle uses.
        handle: makes the asynchronous handle for given connections.
        id: the task's id.
        task: the task's name, if it is known.
        queue: the logical queue, if it is known.
        existing: whether an earlier equal call of a unique or throttled task has enqueued it.
    """

    __slots__ = ("_handle", "_producer", "existing", "id", "queue", "task")

    def __init__(
        self,
        producer: Asks,
        handle: Callable[[Connected], TaskHandle[R]],
        *,
        id: str,  # noqa: A002 - it is the attribute's name
        task: str | None = None,
        queue: str | None = None,
        existing: bool = False,
    ) -> None:
        self._producer = producer
        self._handle = handle
        self.id = id
        self.task = task
        self.queue = queue
        self.existing = existing

    def result(self, timeout: Duration | None = None) -> R:
        """Wait until the task has ended, and return its result.

        Args:
            timeout: seconds or a duration such as ``"30s"``; None waits without a limit.

        Raises:
            TaskFailedError: the task ended without a result.
            ResultTimeoutError: the task did not end in time; it continues.
            ResultUnavailableError: the task's result is ignored, so it is not stored.
            DecodeError: the result does not fit the task's return type here.
            BackendUnavailableError: the backend cannot be reached.
            StemError: an event loop runs in this thread.
        """
        limit = None if timeout is None else seconds(timeout)
        return self._ask(lambda handle: handle.result(limit), "await handle.result(…)")

    def status(self) -> TaskRecord | None:
        """Return the backend's record of the task, or None if there is none or it has expired.

        Raises:
            ResultUnavailableError: the task's result is ignored, so it is not stored.
            BackendUnavailableError: the backend cannot be reached.
            StemError: an event loop runs in this thread.
        """
        return self._ask(lambda handle: handle.status(), "await handle.status()")

    def state(self) -> TaskState | None:
        """Return the task's state, or None if there is no record; raises as `status`."""
        record = self.status()
        return None if record is None else record.state

    def progress(self) -> Progress | None:
        """Return the progress that the task reported last, or None; raises as `status`."""
        record = self.status()
        return None if record is None else record.progress

    def _ask(self, question: Callable[[TaskHandle[R]], Coroutine[Any, Any, T]], instead: str) -> T:
        return self._producer.ask(
            lambda connected: question(self._handle(connected)),
            instead=instead,
            unclear=f"task {self.id} continues",
        )

    def __repr__(self) -> str:
        return f"<BlockingHandle {self.id} of {f'task {self.task}' if self.task else 'a task'}>"
