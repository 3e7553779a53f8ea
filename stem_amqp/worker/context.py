"""The running task, seen from inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from typing_extensions import Unpack

from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError, Reject, Retry, Snooze, StemError
from stem_amqp.message import TaskMessage
from stem_amqp.options import CallKeywords
from stem_amqp.producer import Call, Lineage
from stem_amqp.results.base import Progress
from stem_amqp.results.handle import TaskHandle
from stem_amqp.worker.once import LEASE, Guards, Once

_current: ContextVar[TaskContext] = ContextVar("stem_amqp_task_context")


class EnqueuesCalls(Protocol):
    """What a context enqueues with: the application."""

    def prepare(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> Call:
        """Make a call from a task's name and arguments."""
        ...

    async def enqueue_call(self, call: Call) -> TaskHandle[Any]:
        """Enqueue a call."""
        ...


class TaskContext:
    """The running task: its identity, and the ways in which it can steer its message.

    Attributes:
        id: the task's id, the same through every retry and replay.
        task: the task's name.
        attempt: 0 for the first run, so it is the number of retries so far.
        max_retries: runs after the first one, at most.
        queue: the logical queue it came from.
        meta: the caller's metadata.
        headers: the message's AMQP headers.
        enqueued_at: when the producer wrote the message; None if the message does not say.
        deadline: when the hard time limit cancels this run; None without a limit.
        root: id of the task that began the chain of enqueues.
        parent: id of the task that enqueued this one, or None.
        worker: the worker's name.
    """

    __slots__ = (
        "_app",
        "_guards",
        "_make_guards",
        "_message",
        "_progress",
        "_report",
        "attempt",
        "deadline",
        "headers",
        "max_retries",
        "queue",
        "resources",
        "worker",
    )

    def __init__(
        self,
        message: TaskMessage,
        *,
        attempt: int = 0,
        max_retries: int = 0,
        queue: str = "",
        headers: Mapping[str, Any] | None = None,
        deadline: datetime | None = None,
        worker: str = "",
        app: EnqueuesCalls | None = None,
        report: Callable[[TaskContext, Progress], None] | None = None,
        guards: Callable[[], Guards] | None = None,
        resources: Any = None,
    ) -> None:
        self._message = message
        self._app = app
        self._report = report
        self._make_guards = guards
        self._guards: Guards | None = None
        self._progress: Progress | None = None
        self.attempt = attempt
        self.max_retries = max_retries
        self.queue = queue
        self.headers: Mapping[str, Any] = headers if headers is not None else {}
        self.deadline = deadline
        self.worker = worker
        self.resources = resources
        """What opens dependencies in this worker; None outside of one."""

    @property
    def id(self) -> str:
        """The task's id."""
        return self._message.id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._message.task

    @property
    def meta(self) -> Mapping[str, Any]:
        """The caller's metadata."""
        return self._message.meta

    @property
    def root(self) -> str:
        """Id of the task that began the chain of enqueues."""
        return self._message.root or self._message.id

    @property
    def parent(self) -> str | None:
        """Id of the task that enqueued this one."""
        return self._message.parent

    @property
    def enqueued_at(self) -> datetime | None:
        """When the producer wrote the message, in UTC."""
        at = self._message.enqueued_time
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def lineage(self) -> Lineage:
        """What tasks that this one enqueues inherit."""
        return Lineage(root=self.root, parent=self.id, meta=self.meta)

    @staticmethod
    def current() -> TaskContext:
        """Return the context of the task that is running here.

        Raises:
            StemError: no task is running.
        """
        context = _current.get(None)
        if context is None:
            raise StemError("no task is running here: there is no TaskContext")
        return context

    def heartbeat(self) -> None:
        """Say that the task is alive: the time of its progress in the backend is renewed.

        It does not wait, and can be called from a thread. RabbitMQ itself needs no such sign of
        life: the worker's connections keep their own heartbeat while a task runs.
        """
        last = self._progress or Progress()
        self.progress(last.fraction, message=last.message, data=last.data)

    def progress(
        self, fraction: float | None, *, message: str | None = None, data: Any = None
    ) -> None:
        """Store how far the task is, visible to other processes through the backend.

        It does not wait, and can be called from a thread.

        Args:
            fraction: 0 to 1, or None where that cannot be said.
            message: for people.
            data: for programs, JSON values.

        Raises:
            ConfigurationError: the fraction is out of range.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise ConfigurationError(f"progress is a fraction from 0 to 1, not {fraction!r}")
        self._progress = Progress(fraction=fraction, message=message, data=data)
        if self._report is not None:
            self._report(self, self._progress)

    def retry(self, *, delay: Duration | None = None, reason: str | None = None) -> NoReturn:
        """Give up this run and run again later. It spends an attempt.

        Args:
            delay: the wait; None takes the retry policy's.
            reason: for the log and the signals.

        Raises:
            Retry: always; it is how the run ends.
        """
        raise Retry(None if delay is None else seconds(delay), reason)

    def snooze(self, delay: Duration, reason: str | None = None) -> NoReturn:
        """Give up this run and run again later. It spends no attempt.

        Args:
            delay: the wait.
            reason: for the log and the signals.

        Raises:
            Snooze: always; it is how the run ends.
        """
        raise Snooze(seconds(delay), reason)

    def reject(self, reason: str) -> NoReturn:
        """Send the message to the dead-letter queue at once.

        Args:
            reason: why, for whoever reads the dead letter.

        Raises:
            Reject: always; it is how the run ends.
        """
        raise Reject(reason)

    def once(self, name: str, *, lease: Duration = LEASE) -> Once:
        """Guard a side effect: carry out a block once for this task, across runs and workers.

        ::

            async with ctx.once("charge") as first:
                if first:
                    await gateway.charge(order)

        The ``if`` is yours to write: Python always runs the body of a ``with``, and no context
        manager can skip it. In a synchronous task write ``with``. To keep what the effect returned,
        write ``receipt = await ctx.once("charge").run(charge)``, or ``.call(charge)`` in a
        synchronous task.

        The block counts as done once it has ended without an exception and the result backend has
        noted it. An exception, or the end of the worker, inside of the block lets a later run enter
        it again. While one run is inside, another one of the same task snoozes: it ends at the
        ``async with`` and runs again once the lease is over. That a block was carried out is
        remembered for as long as the task's result.

        Args:
            name: the block's name, one of its own within the task.
            lease: after so long another run may enter, if this one is not heard of any more; it is
                renewed while this one's event loop lives.

        Raises:
            StemError: the context belongs to no worker.
            ConfigurationError: the name or the lease cannot be used.
        """
        if self._make_guards is None:
            raise StemError(
                "this context belongs to no worker, so nothing can be noted; in a test, run the task"
                " on an in-memory broker"
            )
        if self._guards is None:
            self._guards = self._make_guards()
        return Once(self._guards, name, lease)

    async def enqueue(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue another task by name; it gets this one's root, this one as parent, and its meta.

        A task object's own ``enqueue`` does the same while a task runs.

        Args:
            task: the other task's name.
            args: its arguments by name.
            **options: as for ``stem.enqueue``.

        Raises:
            StemError: the context belongs to no worker.
            PublishError: the broker did not take it.
        """
        if self._app is None:
            raise StemError("this context belongs to no worker; use stem.enqueue")
        return await self._app.enqueue_call(self._app.prepare(task, args, **options))

    def __repr__(self) -> str:
        return f"<TaskContext {self.task} {self.id} attempt {self.attempt}>"


def current_or_none() -> TaskContext | None:
    """Return the context of the task that is running here, or None."""
    return _current.get(None)


class entered:  # noqa: N801 - reads as a statement: with entered(context)
    """Make a context the current one for a block.

    Args:
        context: the context.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def __enter__(self) -> TaskContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *exc_info: object) -> None:
        _current.reset(self._token)
