"""A batch task as its producers see it: each call carries one item, and the function takes a list."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from typing_extensions import override

from stem_amqp.composition.composable import Links
from stem_amqp.composition.model import Group, Link, PartialLink
from stem_amqp.context.batch import BatchContext
from stem_amqp.context.context import TaskContext
from stem_amqp.messages.message import TaskMessage, new_id
from stem_amqp.task import Application, Task
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.tasks.round_trip import round_trip_arguments
from stem_amqp.worker.running.resources import plain_batch_call

T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")
Q = ParamSpec("Q")


class BatchTask(Task[[T], R], Links[[T], R], Generic[T, R, V]):
    """A task whose function takes the items of several messages: ``task.enqueue(item)`` enqueues one."""

    @overload
    def s(self) -> PartialLink[T, R]: ...
    @overload
    def s(self, item: T, /) -> Link[R]: ...
    @override
    def s(self, *args: Any) -> Any:
        return self._link(args, {})

    def map(self, items: Iterable[T], /) -> Group[R]:
        """Make a group with a call for each item; a worker runs them in batches.

        Args:
            items: the items.

        Raises:
            ArgumentsError: an item does not fit the function; the text names its position. Or the items are no
                iterable, or a text, bytes or a mapping.
        """
        return self._map(items, (), {})

    @override
    def _plain_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        collected = self.definition.collected
        if collected is None:
            raise RuntimeError("a batch task collects items")
        given = dict(kwargs)
        positional = list(args)
        if positional and isinstance(positional[0], BatchContext) and collected.context is not None:
            given[collected.context] = positional.pop(0)
        if positional:
            given[collected.items] = positional.pop(0)
        items = given.get(collected.items)
        if positional or not isinstance(items, list):
            raise TypeError(
                f"{self.name} is a batch task: called directly, it takes one list of items, as"
                f" {self.name}([…]); enqueue(…) takes one item"
            )
        given[collected.items] = items = self._as_received(items)
        contexts = [self._context_of_item() for _ in items]
        context = given.get(collected.context or "") or BatchContext(contexts)
        if collected.context is not None:
            given[collected.context] = context
        blueprint = self.app.blueprint
        return plain_batch_call(self.definition, context, blueprint.overrides, blueprint.settings)(
            **given
        )

    def _as_received(self, items: list[T]) -> list[T]:
        """Return the items as a worker receives them, in a test on an in-memory broker."""
        if self.app.stand_in is None:
            return items
        arguments = self.definition.arguments
        (name,) = arguments.names
        received = [round_trip_arguments(arguments, (item,), {}) for item in items]
        return [each[name] for each in received if each is not None]

    def _context_of_item(self) -> TaskContext:
        message = TaskMessage(id=new_id(), task=self.name, args={})
        return TaskContext(message, queue=self.task_options.queue or "")


class AsyncBatchTask(BatchTask[T, R, V]):
    """A batch task made of a coroutine function."""

    def __call__(self, items: list[T], /, **dependencies: Any) -> Coroutine[Any, Any, V]:
        """Call the plain function with a list of items; no broker is involved."""
        coroutine: Coroutine[Any, Any, V] = self._plain_call((items,), dependencies)
        return coroutine


class SyncBatchTask(BatchTask[T, R, V]):
    """A batch task made of a plain function; a worker runs it in a thread."""

    def __call__(self, items: list[T], /, **dependencies: Any) -> V:
        """Call the plain function with a list of items; no broker is involved."""
        result: V = self._plain_call((items,), dependencies)
        return result


class BatchTaskDecorator:
    """What ``stem.task(name, batch=Batch(…), …)`` returns.

    Args:
        app: the application.
        name: the task's name.
        options: its options, with a batch.
    """

    def __init__(self, app: Application, name: str, options: TaskOptions) -> None:
        self._app = app
        self._name = name
        self._options = options

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[BatchContext, list[T], Q], Coroutine[Any, Any, None]],
        /,
    ) -> AsyncBatchTask[T, None, None]: ...
    @overload
    def __call__(
        self,
        function: Callable[Concatenate[BatchContext, list[T], Q], Coroutine[Any, Any, list[R]]],
        /,
    ) -> AsyncBatchTask[T, R, list[R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[T], Q], Coroutine[Any, Any, None]], /
    ) -> AsyncBatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[T], Q], Coroutine[Any, Any, list[R]]], /
    ) -> AsyncBatchTask[T, R, list[R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[BatchContext, list[T], Q], None], /
    ) -> SyncBatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[BatchContext, list[T], Q], list[R]], /
    ) -> SyncBatchTask[T, R, list[R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[T], Q], None], /
    ) -> SyncBatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[list[T], Q], list[R]], /
    ) -> SyncBatchTask[T, R, list[R]]: ...
    def __call__(self, function: Callable[..., Any], /) -> BatchTask[Any, Any, Any]:
        """Make the function a batch task and register it.

        Raises:
            TaskDefinitionError: it does not take one list, JSON cannot carry an item, or the name is taken.
        """
        definition = TaskDefinition.build(self._name, function, self._options, BatchContext)
        self._app.blueprint.registry.add(definition)
        kind = AsyncBatchTask if definition.is_async else SyncBatchTask
        return kind(self._app, definition)
