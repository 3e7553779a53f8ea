"""What blocking code holds of a task that it enqueued."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from stem_amqp.durations import Duration, seconds
from stem_amqp.results.base import Progress, TaskRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.states import TaskState

if TYPE_CHECKING:
    from stem_amqp.assembly import Connected
    from stem_amqp.blocking.producer import BlockingProducer

R = TypeVar("R")
T = TypeVar("T")


class BlockingHandle(Generic[R]):
    """A task that was enqueued, and the way to its result for code that cannot await.

    Args:
        producer: the producer, whose connections it asks.
        handle: makes the handle that asks given connections.
        id: the task's id.
        task: the task's name, if it is known.
        queue: the logical queue, if it is known.
        existing: whether an earlier call of the unique task enqueued it, and this one did not.
    """

    __slots__ = ("_handle", "_producer", "existing", "id", "queue", "task")

    def __init__(
        self,
        producer: BlockingProducer,
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
        """Wait for the task's end, and return what it returned.

        Args:
            timeout: seconds or a duration such as ``"30s"``; None waits for ever.

        Raises:
            TaskFailedError: it ended without a result.
            ResultTimeoutError: it did not end in time; it goes on.
            ResultUnavailableError: its result is ignored, so nobody stores it.
            DecodeError: the result does not fit the task's return type here.
            BackendUnavailableError: the backend cannot be reached.
            StemError: an event loop runs in this thread.
        """
        limit = None if timeout is None else seconds(timeout)
        return self._ask(lambda handle: handle.result(limit), "await handle.result(…)")

    def status(self) -> TaskRecord | None:
        """Return what the backend knows of the task, or None if nothing is (any more).

        Raises:
            ResultUnavailableError: its result is ignored, so nobody stores it.
            BackendUnavailableError: the backend cannot be reached.
            StemError: an event loop runs in this thread.
        """
        return self._ask(lambda handle: handle.status(), "await handle.status()")

    def state(self) -> TaskState | None:
        """Return the task's state, or None if it is not known (any more); raises as `status`."""
        record = self.status()
        return None if record is None else record.state

    def progress(self) -> Progress | None:
        """Return how far the task said that it is, or None if it did not; raises as `status`."""
        record = self.status()
        return None if record is None else record.progress

    def _ask(self, question: Callable[[TaskHandle[R]], Coroutine[Any, Any, T]], instead: str) -> T:
        return self._producer.ask(
            lambda connected: question(self._handle(connected)),
            instead=instead,
            unclear=f"task {self.id} goes on",
        )

    def __repr__(self) -> str:
        return f"<BlockingHandle {self.id} of {f'task {self.task}' if self.task else 'a task'}>"
