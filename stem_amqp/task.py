"""A task as its producers see it: a function that can also be enqueued."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from typing_extensions import Unpack

from stem_amqp.blocking.handle import BlockingHandle
from stem_amqp.blocking.producer import BlockingProducer
from stem_amqp.blueprint import Blueprint
from stem_amqp.composition.composable import AsyncLinks, Links, SyncLinks
from stem_amqp.connected import StandIn
from stem_amqp.context.context import TaskContext, current_or_none
from stem_amqp.durations import Duration
from stem_amqp.messages.message import TaskMessage, new_id
from stem_amqp.results.handle import TaskHandle
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.tasks.options import DEFAULT_CALL, CallOptions, TaskOptions
from stem_amqp.tasks.round_trip import round_trip_arguments, round_trip_result
from stem_amqp.worker.running.resources import plain_call

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Application(Protocol):
    """What a task needs of its application, a `Stem`."""

    @property
    def blueprint(self) -> Blueprint:
        """What the application is made of now."""
        ...

    @property
    def stand_in(self) -> StandIn | None:
        """The connections of a test; None outside of one."""
        ...

    @property
    def blocking_producer(self) -> BlockingProducer:
        """The producer of ``enqueue_blocking``."""
        ...

    def blocking(self, *, timeout: Duration | None = None) -> BlockingProducer:
        """Make a producer for code without an event loop."""
        ...

    async def enqueue_call(self, call: Call[R]) -> TaskHandle[R]:
        """Enqueue a prepared call."""
        ...

    async def enqueue_composition(self, composition: Any, *, id: str | None = None) -> Any:  # noqa: A002 - the option's name
        """Enqueue a composition."""
        ...


@dataclass(frozen=True, slots=True)
class BoundTask(Generic[P, R]):
    """A task with the options of one call: ``task.options(delay="30s").enqueue(…)``."""

    _task: Task[P, R]
    _options: CallOptions

    @property
    def app(self) -> Application:
        """The application."""
        return self._task.app

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Enqueue the task with these options; see `Task.enqueue`."""
        return await self._task.app.enqueue_call(self.prepare(*args, **kwargs))

    def enqueue_blocking(self, *args: P.args, **kwargs: P.kwargs) -> BlockingHandle[R]:
        """Enqueue the task with these options, without an event loop; see `Task.enqueue_blocking`."""
        return self._task.app.blocking_producer.enqueue_call(self.prepare(*args, **kwargs))

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Make a call for `Stem.enqueue_many`; see `Task.prepare`."""
        return Call(
            task=self._task.name,
            args=self._task.definition.arguments.pack(args, kwargs),
            options=self._options,
            definition=self._task.definition,
        )


class Task(Links[P, R]):
    """A task: call it as the plain function it is, or enqueue it.

    Args:
        app: the application.
        definition: the named function with its options.
    """

    def __init__(self, app: Application, definition: TaskDefinition) -> None:
        function = definition.function
        functools.update_wrapper(cast("Callable[..., Any]", self), function, updated=())
        # What the function has by a name of the task's own, such as another framework's, stays there
        own = {
            name: one
            for name, one in getattr(function, "__dict__", {}).items()
            if not hasattr(self, name)
        }
        self.__dict__.update(own)
        self.app = app
        self.definition = definition

    @property
    def name(self) -> str:
        """The task's name on the wire."""
        return self.definition.name

    @property
    def task_options(self) -> TaskOptions:
        """The options given to the decorator."""
        return self.definition.options

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Enqueue the task, and wait until the broker has it safe.

        Inside a running task, the new one gets its root id, its id as parent, and its meta.

        Args:
            *args: the function's arguments, without the context.
            **kwargs: the same by name.

        Returns:
            A handle to wait for the result with.

        Raises:
            ArgumentsError: the arguments do not fit the function; nothing was sent.
            PublishError: the broker did not take it.
        """
        return await self.app.enqueue_call(self.prepare(*args, **kwargs))

    def enqueue_blocking(self, *args: P.args, **kwargs: P.kwargs) -> BlockingHandle[R]:
        """Enqueue the task where nothing can be awaited, and wait until the broker has it safe.

        It goes through the application's `Stem.blocking_producer`: a connection of its own, opened
        by the first call of the process and closed at its exit.

        Args:
            *args: the function's arguments, without the context.
            **kwargs: the same by name.

        Returns:
            A handle to wait for the result with.

        Raises:
            ArgumentsError: the arguments do not fit the function; nothing was sent.
            PublishError: the broker did not take it; after a `PublishTimeoutError` it may have.
            BrokerUnavailableError: there is no connection within the timeout.
            StemError: an event loop runs in this thread: ``await task.enqueue(…)`` there.
        """
        return self.app.blocking_producer.enqueue_call(self.prepare(*args, **kwargs))

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Make a call for `Stem.enqueue_many`, with the arguments checked.

        Raises:
            ArgumentsError: they do not fit the function.
        """
        return Call(
            task=self.name,
            args=self.definition.arguments.pack(args, kwargs),
            options=DEFAULT_CALL,
            definition=self.definition,
        )

    def options(self, **options: Unpack[CallKeywords]) -> BoundTask[P, R]:
        """Set options of one call, such as ``delay="30s"`` or ``meta={…}``.

        Args:
            **options: see `stem_amqp.tasks.keywords.CallKeywords`.

        Raises:
            ConfigurationError: an option's value cannot be used.
        """
        return BoundTask(self, CallOptions.build(options))

    def _plain_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        # A test on an in-memory broker finds arguments that JSON cannot carry; not within a task's run
        if self.app.stand_in is None or current_or_none() is not None:
            return self._call_here(args, kwargs)
        arguments, given = self.definition.arguments, dict(kwargs)
        own = [value for value in args if isinstance(value, TaskContext)]
        if own and arguments.context_parameter is not None:
            given.setdefault(arguments.context_parameter, own[0])
        plain = tuple(value for value in args if not isinstance(value, TaskContext))
        values = round_trip_arguments(arguments, plain, given)
        if values is None:
            return self._call_here(args, kwargs)
        return round_trip_result(arguments.returns, self._call_here((), values))

    def _call_here(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        arguments = self.definition.arguments
        name, given = arguments.context_parameter, dict(kwargs)
        if arguments.dependencies:
            return self._plain_call_opening(args, given)
        if name is None or name in given:
            return self.definition.function(*args, **given)
        if not any(isinstance(value, TaskContext) for value in args):
            given[name] = self._plain_context()
            # By name, since the context may stand before, between or behind them
            names = [p for p in arguments.names if p not in kwargs]
            given.update(zip(names, args, strict=False))
            args = args[len(names) :]
        return self.definition.function(*args, **given)

    def _plain_call_opening(self, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        """Call the function with its dependencies, but for those that are given."""
        arguments = self.definition.arguments
        name, own = arguments.context_parameter, [a for a in args if isinstance(a, TaskContext)]
        context = given.get(name or "") or (own[0] if own else self._plain_context())
        if name is not None:
            given[name] = context
        names = [p for p in arguments.names if p not in given]
        plain = [a for a in args if a is not context]
        if len(plain) > len(names):
            raise TypeError(f"{self.name}{arguments} got {len(plain)} arguments by position")
        given.update(zip(names, plain, strict=False))
        call = plain_call(
            self.definition, context, self.app.blueprint.overrides, self.app.blueprint.settings
        )
        return call(**given)

    def _plain_context(self) -> TaskContext:
        message = TaskMessage(id=new_id(), task=self.name, args={})
        return current_or_none() or TaskContext(message, queue=self.task_options.queue or "")

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.definition.arguments}>"


class AsyncTask(Task[P, R], AsyncLinks[P, R]):
    """A task made of a coroutine function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the plain function; no broker is involved."""
        coroutine: Coroutine[Any, Any, R] = self._plain_call(args, kwargs)
        return coroutine


class SyncTask(Task[P, R], SyncLinks[P, R]):
    """A task made of a plain function; a worker runs it in a thread."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function; no broker is involved."""
        result: R = self._plain_call(args, kwargs)
        return result


class TaskDecorator:
    """What ``stem.task(name, …)`` returns.

    A context parameter that comes first is taken off the signature of ``enqueue`` by type checkers
    too. (A type checker cannot take off one that stands elsewhere, unless it has a default.)
    """

    def __init__(self, app: Application, name: str, options: TaskOptions) -> None:
        self._app = app
        self._name = name
        self._options = options

    @overload
    def __call__(  # type: ignore[overload-overlap] # a coroutine is also a plain value
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, T]], /
    ) -> AsyncTask[P, T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap] # as above
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], T], /) -> SyncTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> SyncTask[P, T]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[..., Any]:
        """Make the function a task and register it.

        Raises:
            TaskDefinitionError: JSON cannot carry its arguments, or the name is taken.
        """
        definition = TaskDefinition.build(self._name, function, self._options, TaskContext)
        self._app.blueprint.registry.add(definition)
        kind = AsyncTask if definition.is_async else SyncTask
        return kind(self._app, definition)
