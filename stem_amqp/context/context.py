"""The context of a running task: its identity, progress, and control of its message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from typing_extensions import Unpack

from stem_amqp.context.once import LEASE, Guards, Once
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.results.base import Progress
from stem_amqp.results.handle import TaskHandle
from stem_amqp.task_control import Reject, Retry, Snooze
from stem_amqp.tasks.call import Call, Lineage
from stem_amqp.tasks.keywords import CallKeywords

_current: ContextVar[TaskContext] = ContextVar("stem_amqp_task_context")
make_current, restore_current = _current.set, _current.reset
"""Make a context the current one, and the one before it again by the token that the first returns."""


class EnqueuesCalls(Protocol):
    """The application's methods with which a context enqueues calls."""

    def prepare(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> Call:
        """Make a call from a task's name and arguments."""
        ...

    async def enqueue_call(self, call: Call) -> TaskHandle[Any]:
        """Enqueue a call."""
        ...


class TaskContext:
    """The running task: its identity, and the control of its message.

    Attributes:
        id: the task's id, the same through every retry and replay.
        task: the task's name.
        attempt: the number of retries so far; 0 in the first run.
        max_retries: the most runs after the first one.
        queue: the logical queue that the message came from.
        meta: the caller's metadata.
        headers: the message's AMQP headers.
        enqueued_at: when the producer wrote the message; None if the message does not say.
        deadline: when the hard time limit cancels this run; None without a limit.
        root: id of the first task in the chain of enqueues.
        parent: id of the task that enqueued this one, or None.
        worker: the worker's name.
    """

    __slots__ = (
        "_app",
        "_guards",
        "_in_thread",
        "_make_guards",
        "_message",
        "_over",
        "_progress",
        "_repeats",
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
        self._in_thread = False
        self._over = False
        self._repeats: dict[str, int] | None = None
        self.attempt = attempt
        self.max_retries = max_retries
        self.queue = queue
        self.headers: Mapping[str, Any] = headers if headers is not None else {}
        self.deadline = deadline
        self.worker = worker
        self.resources = resources
        """Opens dependencies in this worker; None outside of a worker."""

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
        """Id of the first task in the chain of enqueues."""
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
        """The values that a task inherits when this one enqueues it."""
        return Lineage(root=self.root, parent=self.id, meta=self.meta)

    @staticmethod
    def current() -> TaskContext:
        """Return the context of the task that is running here.

        Raises:
            StemError: no task is running.
        """
        context = current_or_none()
        if context is None:
            raise StemError("no task is running here, so there is no TaskContext")
        return context

    @property
    def over(self) -> bool:
        """Whether the run has ended; code that it left running is not part of it."""
        return self._over and not self._in_thread

    def repeats_of(self, what: str) -> int:
        """Return how often this run has done something before, and count it; for additions to open groups.

        Args:
            what: what it does, equal in each run.
        """
        if self._repeats is None:
            self._repeats = {}
        before = self._repeats.get(what, 0)
        self._repeats[what] = before + 1
        return before

    def enter_thread(self) -> None:
        """Record that a thread entered the function. Called by the worker."""
        self._in_thread = True

    def leave_thread(self) -> None:
        """Record that the thread left the function, possibly long after the run was abandoned."""
        self._in_thread = False

    def end_run(self) -> None:
        """Record that the run has ended. Called by the worker."""
        self._over = True

    def heartbeat(self) -> None:
        """Report that the task is alive: renew the time of its progress in the backend.

        The call does not block and can be made from a thread. RabbitMQ does not need it: the
        worker's connections send their own heartbeats while a task runs.
        """
        last = self._progress or Progress()
        self.progress(last.fraction, message=last.message, data=last.data)

    def progress(
        self, fraction: float | None, *, message: str | None = None, data: Any = None
    ) -> None:
        """Store the task's progress in the backend, where other processes can read it.

        The call does not block and can be made from a thread.

        Args:
            fraction: 0 to 1, or None if it is not known.
            message: a description for people.
            data: JSON values for programs.

        Raises:
            ConfigurationError: the fraction is out of range.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise ConfigurationError(f"progress must be a fraction from 0 to 1, not {fraction!r}")
        self._progress = Progress(fraction=fraction, message=message, data=data)
        if self._report is not None:
            self._report(self, self._progress)

    def retry(self, *, delay: Duration | None = None, reason: str | None = None) -> NoReturn:
        """End this run and run the task again later. This counts as an attempt.

        Args:
            delay: the wait; None uses the retry policy.
            reason: for the log and the signals.

        Raises:
            Retry: always; it ends the run.
        """
        raise Retry(None if delay is None else seconds(delay), reason)

    def snooze(self, delay: Duration, reason: str | None = None) -> NoReturn:
        """End this run and run the task again later. This does not count as an attempt.

        Args:
            delay: the wait.
            reason: for the log and the signals.

        Raises:
            Snooze: always; it ends the run.
        """
        raise Snooze(seconds(delay), reason)

    def reject(self, reason: str) -> NoReturn:
        """End this run and dead-letter the message at once.

        Args:
            reason: the reason, stored in the dead letter.

        Raises:
            Reject: always; it ends the run.
        """
        raise Reject(reason)

    def once(self, name: str, *, lease: Duration = LEASE) -> Once:
        """Guard a side effect: run a block once for this task, across runs and workers.

        ::

            async with ctx.once("charge") as first:
                if first:
                    await gateway.charge(order)

        The ``if`` is required: Python always runs the body of a ``with``, and no context manager
        can skip it. In a synchronous task write ``with``. To store the result of the effect, write
        ``receipt = await ctx.once("charge").run(charge)``, or ``.call(charge)`` in a synchronous
        task.

        The block is complete when it has ended without an exception and the result backend has
        stored that. After an exception or a crash of the worker in the block, a later run enters it
        again. While one run is in the block, another run of the same task snoozes: it ends at the
        ``async with`` and runs again when the lease has expired. The backend keeps the completion
        as long as the task's result.

        Args:
            name: the block's name, unique within the task.
            lease: time after which another run may enter if this one stops renewing the lease; it
                does so while its event loop runs.

        Raises:
            StemError: the context does not belong to a worker.
            ConfigurationError: the name or the lease is not valid.
        """
        if self._make_guards is None:
            raise StemError(
                "this context does not belong to a worker, so nothing can be stored; in a test, run"
                " the task on an in-memory broker"
            )
        if self._guards is None:
            self._guards = self._make_guards()
        return Once(self._guards, name, lease)

    async def enqueue(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue another task by name; it inherits the root and meta of this task, its parent.

        The ``enqueue`` of a task object does the same while a task runs.

        Args:
            task: the other task's name.
            args: its arguments by name.
            **options: as for ``stem.enqueue``.

        Raises:
            StemError: the context does not belong to a worker.
            PublishError: the broker did not confirm the message.
        """
        if self._app is None:
            raise StemError("this context does not belong to a worker; use stem.enqueue")
        return await self._app.enqueue_call(self._app.prepare(task, args, **options))

    def __repr__(self) -> str:
        return f"<TaskContext {self.task} {self.id} attempt {self.attempt}>"


def current_or_none() -> TaskContext | None:
    """Return the context of the task that is running here, or None.

    A background task that a run left behind has a copy of its context variables, but is not part of
    the run once that has ended.
    """
    context = _current.get(None)
    return None if context is None or context.over else context


def context_in(task: asyncio.Task[Any]) -> TaskContext | None:
    """Return the context of the run that an asyncio task belongs to; always None before Python 3.12."""
    variables: Context | None = getattr(task, "get_context", lambda: None)()
    return None if variables is None else variables.get(_current)


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
