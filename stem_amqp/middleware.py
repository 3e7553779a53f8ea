"""Middleware: code of one's own around every run of a task, and around every publish of a new one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.headers import check_own
from stem_amqp.options import CallOptions, check_shared

if TYPE_CHECKING:
    from stem_amqp.worker.context import TaskContext


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingTask:
    """A task that is about to be published, as a `Middleware` sees it.

    Args:
        id: its id; cannot be changed.
        task: its name; cannot be changed.
        args: its arguments by name, as JSON values; cannot be changed, since they were validated.
        queue: the logical queue.
        meta: the caller's metadata, with what is inherited from the task that enqueues it.
        headers: the caller's AMQP headers.
        priority: 0 to 255; None: the task's own, if it has one.
    """

    id: str
    task: str
    args: Mapping[str, Any]
    queue: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None

    def with_meta(self, **values: Any) -> OutgoingTask:
        """Return it with more metadata; what is there by the same name is replaced."""
        return replace(self, meta={**self.meta, **values})

    def with_headers(self, headers: Mapping[str, Any]) -> OutgoingTask:
        """Return it with more AMQP headers; what is there by the same name is replaced."""
        return replace(self, headers={**self.headers, **headers})

    def to_queue(self, queue: str) -> OutgoingTask:
        """Return it for another logical queue."""
        return replace(self, queue=queue)


Run: TypeAlias = Callable[[], Awaitable[Any]]
"""Runs what is inside of a middleware, the task at last, and returns what that returned."""
Publish: TypeAlias = Callable[[OutgoingTask], Awaitable[None]]
"""Passes a task on to what is inside of a middleware, and returns when the broker has confirmed it."""


class Middleware:
    """Base of what is to be around runs and publishes; override one of the two, or both.

    ::

        class Timing(Middleware):
            async def run(self, ctx: TaskContext, call_next: Run) -> Any:
                begun = time.perf_counter()
                try:
                    return await call_next()
                finally:
                    histogram.observe(time.perf_counter() - begun)
    """

    async def run(self, ctx: TaskContext, call_next: Run) -> Any:  # noqa: ARG002 - to be overridden
        """Be around one run of a task, in the worker's event loop.

        Args:
            ctx: the run's context; it is the current one.
            call_next: runs what is inside. Called again, it runs again, within the same attempt.

        Returns:
            The run's result: what ``call_next`` returned, or something else.

        Raises:
            Exception: the run fails, and is retried as if the task had raised it.
        """
        return await call_next()

    async def publish(self, message: OutgoingTask, call_next: Publish) -> None:
        """Be around one publish of a new task, in the event loop of its producer.

        Args:
            message: the task.
            call_next: publishes it, or what is given to it instead: ``message.with_meta(…)``.

        Raises:
            Exception: whoever enqueues gets it.
        """
        await call_next(message)


class Stack:
    """The middleware of an application, the outermost first.

    Attributes:
        running: those that are around runs.
        publishing: those that are around publishes.
    """

    def __init__(self) -> None:
        self.running: tuple[Middleware, ...] = ()
        self.publishing: tuple[Middleware, ...] = ()

    def add(self, middleware: Middleware) -> None:
        """Add one, inside of those that are there.

        Raises:
            ConfigurationError: it is none.
        """
        given: object = middleware
        if not isinstance(given, Middleware):
            hint = f"{given.__name__}()" if inspect.isclass(given) else "a class of your own"
            raise ConfigurationError(
                f"{given!r} is no middleware: give an object whose class inherits from"
                f" stem_amqp.Middleware, such as {hint}"
            )
        kind = type(middleware)
        for method in (kind.run, kind.publish):
            if not inspect.iscoroutinefunction(method):
                raise ConfigurationError(f"{method.__qualname__} has to be an async function")
        if kind.run is Middleware.run and kind.publish is Middleware.publish:
            raise ConfigurationError(f"{kind.__qualname__} overrides neither run nor publish")
        if kind.run is not Middleware.run:
            self.running += (middleware,)
        if kind.publish is not Middleware.publish:
            self.publishing += (middleware,)

    async def run(self, ctx: TaskContext, call: Run) -> Any:
        """Run a task inside of the middleware.

        Args:
            ctx: the run's context.
            call: runs the task.
        """
        for middleware in reversed(self.running):
            call = functools.partial(middleware.run, ctx, call)
        return await call()

    async def publish(self, message: OutgoingTask, call: Publish) -> None:
        """Publish a task inside of the middleware.

        Args:
            message: the task.
            call: publishes it.

        Raises:
            StemError: a middleware passed it on twice, or neither passed it on nor raised.
        """
        inner = _Passing("the producer", call)
        for middleware in reversed(self.publishing):
            name = type(middleware).__qualname__
            inner = _Passing(name, functools.partial(middleware.publish, call_next=inner))
        await inner(message)


class _Passing:
    """Passes a task on once, and makes sure that what gets it does the same."""

    def __init__(self, name: str, step: Publish) -> None:
        self.name = name
        self.done = False
        self._step = step

    async def __call__(self, message: OutgoingTask) -> None:
        given: object = message
        if not isinstance(given, OutgoingTask):
            raise StemError(
                f"call_next takes the task, as in call_next(message), not {given!r:.80}"
            )
        if self.done:
            raise StemError(f"task {message.task} {message.id} was passed on to {self.name} twice")
        await self._step(message)
        self.done = True


def changed(options: CallOptions, before: OutgoingTask, after: OutgoingTask) -> CallOptions:
    """Return the options of a call as the middleware wants them.

    Args:
        options: as the caller gave them.
        before: the task as it was given to the middleware.
        after: the task as it came out.

    Raises:
        ConfigurationError: something was changed that cannot be, or to what cannot be used.
    """
    for name in ("id", "task", "args"):
        if getattr(after, name) != getattr(before, name):
            raise ConfigurationError(
                f"task {before.task} {before.id}: a middleware cannot change its {name}, but queue,"
                " meta, headers and priority"
            )
    if after.headers != before.headers:
        check_own(after.headers)
    values: dict[str, Any] = {"meta": after.meta, "headers": after.headers}
    if after.queue != before.queue:
        values["queue"] = after.queue
    if after.priority != before.priority:
        values["priority"] = after.priority
    check_shared({name: value for name, value in values.items() if value is not None})
    return replace(options, task_id=after.id, **values)
