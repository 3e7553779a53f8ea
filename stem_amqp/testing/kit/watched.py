"""The tasks of a worker in a test: they record exceptions, and stop at a shut gate."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from typing_extensions import override

from stem_amqp.context.batch import batch_or_none
from stem_amqp.context.context import current_or_none
from stem_amqp.task_control import BatchFailed
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.outcome import Record


class WatchedRegistry(Registry):
    """The tasks, with functions that record exceptions, and stop at a shut gate.

    Args:
        registry: the application's registry, which may grow.
        record: records the exceptions.
        gate: the gate.
    """

    def __init__(self, registry: Registry, record: Record, gate: Gate) -> None:
        super().__init__()
        self._registry = registry
        self._record = record
        self._gate = gate

    @override
    def get(self, name: str) -> TaskDefinition | None:
        if name not in self._tasks and (task := self._registry.get(name)) is not None:
            wrap = _async_function if task.is_async else _plain_function
            function = wrap(task, self._record, self._gate)
            self._tasks[name] = dataclasses.replace(task, function=function)
        return self._tasks.get(name)

    @override
    def __getitem__(self, name: str) -> TaskDefinition:
        return self.get(name) or self._registry[name]

    @override
    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._registry)

    @override
    def __len__(self) -> int:
        return len(self._registry)


def _async_function(task: TaskDefinition, record: Record, gate: Gate) -> Callable[..., Any]:
    @functools.wraps(task.function)
    async def run(**kwargs: Any) -> Any:
        return await _driven(task, task.function(**kwargs), record, gate)

    return run


async def _driven(
    task: TaskDefinition, coroutine: Coroutine[Any, Any, Any], record: Record, gate: Gate
) -> Any:
    try:
        return await gate.drive(coroutine)
    except BaseException as error:
        _note(record, error)
        raise
    finally:
        gate.run_ended(task.name)
        await gate.passed()


def _plain_function(task: TaskDefinition, record: Record, gate: Gate) -> Callable[..., Any]:
    @functools.wraps(task.function)
    def run(**kwargs: Any) -> Any:
        gate.passed_in_thread()
        value: Any = None
        try:
            value = task.function(**kwargs)
        except BaseException as error:
            _note(record, error)
            raise
        finally:
            if not inspect.iscoroutine(value):
                gate.run_ended(task.name)
            gate.passed_in_thread()
        # An async function under a plain decorator: its run continues in the event loop
        return _driven(task, value, record, gate) if inspect.iscoroutine(value) else value

    return run


def _note(record: Record, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        return
    context = current_or_none()
    if context is not None:
        record.raised(context.id, context.attempt, error)
        return
    for index, one in enumerate(batch_or_none() or ()):
        own = error.errors.get(index) if isinstance(error, BatchFailed) else error
        if own is not None:
            record.raised(one.id, one.attempt, own)
