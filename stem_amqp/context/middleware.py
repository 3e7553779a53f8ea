"""Middleware: user code around every run of a task and around every publish of a new task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.messages.headers import check_custom_headers
from stem_amqp.tasks.option_values import json_object
from stem_amqp.tasks.options import CallOptions, check_shared

if TYPE_CHECKING:
    from stem_amqp.context.context import TaskContext


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingTask:
    """A task that is about to be published, passed to `Middleware.publish`.

    Args:
        id: its id; cannot be changed.
        task: its name; cannot be changed.
        args: its arguments by name, as JSON values; cannot be changed, since they are validated.
        queue: the logical queue.
        meta: the caller's metadata, and the metadata inherited from the task that enqueues it.
        headers: the caller's AMQP headers.
        priority: 0 to 255; None uses the task's priority, if any.
    """

    id: str
    task: str
    args: Mapping[str, Any]
    queue: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None

    def with_meta(self, **values: Any) -> OutgoingTask:
        """Return a copy with additional metadata; existing names are replaced."""
        return replace(self, meta={**self.meta, **values})

    def with_headers(self, headers: Mapping[str, Any]) -> OutgoingTask:
        """Return a copy with additional AMQP headers; existing names are replaced."""
        return replace(self, headers={**self.headers, **headers})

    def to_queue(self, queue: str) -> OutgoingTask:
        """Return a copy for another logical queue."""
        return replace(self, queue=queue)


Run: TypeAlias = Callable[[], Awaitable[Any]]
"""Runs the next middleware, or the task, and returns its result."""
Publish: TypeAlias = Callable[[OutgoingTask], Awaitable[None]]
"""Passes a task to the next middleware or the producer, and returns after the broker's confirm."""


class Middleware:
    """Base class of middleware; override `run`, `publish` or both.

    ::

        class Timing(Middleware):
            async def run(self, ctx: TaskContext, call_next: Run) -> Any:
                started = time.perf_counter()
                try:
                    return await call_next()
                finally:
                    histogram.observe(time.perf_counter() - started)
    """

    async def run(self, ctx: TaskContext, call_next: Run) -> Any:  # noqa: ARG002 - to be overridden
        """Wrap one run of a task, in the worker's event loop.

        Args:
            ctx: the run's context, which is the current one.
            call_next: runs the next middleware or the task. A second call runs it again, within the
                same attempt.

        Returns:
            The result of the run: the result of ``call_next`` or another value.

        Raises:
            Exception: the run fails, and is retried as if the task had raised it.
        """
        return await call_next()

    async def publish(self, message: OutgoingTask, call_next: Publish) -> None:
        """Wrap one publish of a new task, in the producer's event loop.

        Args:
            message: the task.
            call_next: publishes the task that it is given: ``message`` or a copy such as
                ``message.with_meta(…)``.

        Raises:
            Exception: the enqueue fails with it.
        """
        await call_next(message)


class Stack:
    """The middleware of an application, the outermost first.

    Attributes:
        running: the middleware that wraps runs.
        publishing: the middleware that wraps publishes.
    """

    def __init__(self) -> None:
        self.running: tuple[Middleware, ...] = ()
        self.publishing: tuple[Middleware, ...] = ()

    def add(self, middleware: Middleware) -> None:
        """Add a middleware as the innermost one.

        Raises:
            ConfigurationError: the object is not a middleware.
        """
        given: object = middleware
        if not isinstance(given, Middleware):
            hint = f"{given.__name__}()" if inspect.isclass(given) else "a class of your own"
            raise ConfigurationError(
                f"{given!r} is not a middleware: pass an instance of a class that inherits from"
                f" stem_amqp.Middleware, such as {hint}"
            )
        kind = type(middleware)
        for method in (kind.run, kind.publish):
            if not inspect.iscoroutinefunction(method):
                raise ConfigurationError(f"{method.__qualname__} must be an async function")
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
            StemError: a middleware called ``call_next`` twice, or with something other than a task.
        """
        inner = _Passing("the producer", call)
        for middleware in reversed(self.publishing):
            name = type(middleware).__qualname__
            inner = _Passing(name, functools.partial(middleware.publish, call_next=inner))
        await inner(message)


class _Passing:
    """A ``call_next`` that can be called once, with a task."""

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
    """Return the options of a call with the changes that middleware made.

    Args:
        options: the caller's options.
        before: the task that was passed to the middleware.
        after: the task that the middleware passed on.

    Raises:
        ConfigurationError: a field was changed that cannot be, or a new value is not valid.
    """
    for name in ("id", "task", "args"):
        if getattr(after, name) != getattr(before, name):
            raise ConfigurationError(
                f"task {before.task} {before.id}: a middleware cannot change its {name}, only queue,"
                " meta, headers and priority"
            )
    if after.headers != before.headers:
        check_custom_headers(after.headers)
    values: dict[str, Any] = {"meta": after.meta, "headers": after.headers}
    if after.meta != before.meta:
        values["meta"] = json_object("meta", after.meta)
    if after.queue != before.queue:
        values["queue"] = after.queue
    if after.priority != before.priority:
        values["priority"] = after.priority
    check_shared({name: value for name, value in values.items() if value is not None})
    return replace(options, task_id=after.id, **values)
