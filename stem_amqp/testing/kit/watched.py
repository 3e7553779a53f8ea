"""The tasks of a worker in a test: they tell what they raise, and stop at a shut gate."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from stem_amqp.definition import Registry, TaskDefinition
from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.outcome import Record
from stem_amqp.worker.context import current_or_none


class WatchedRegistry(Registry):
    """The tasks, with functions that tell what they raise, and stop at a shut gate.

    Args:
        registry: the application's, which may grow.
        record: is told what they raise.
        gate: the gate.
    """

    def __init__(self, registry: Registry, record: Record, gate: Gate) -> None:
        super().__init__()
        self._registry = registry
        self._record = record
        self._gate = gate

    def get(self, name: str) -> TaskDefinition | None:
        """Return the task of that name, or None."""
        if name not in self._tasks and (task := self._registry.get(name)) is not None:
            wrap = _async_function if task.is_async else _plain_function
            function = wrap(task, self._record, self._gate)
            self._tasks[name] = dataclasses.replace(task, function=function)
        return self._tasks.get(name)

    def __getitem__(self, name: str) -> TaskDefinition:
        """Return the task of that name."""
        return self.get(name) or self._registry[name]

    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)


def _async_function(task: TaskDefinition, record: Record, gate: Gate) -> Callable[..., Any]:
    @functools.wraps(task.function)
    async def run(**kwargs: Any) -> Any:
        try:
            return await gate.drive(task.function(**kwargs))
        except BaseException as error:
            _note(record, error)
            raise
        finally:
            gate.run_ended(task.name)
            await gate.passed()

    return run


def _plain_function(task: TaskDefinition, record: Record, gate: Gate) -> Callable[..., Any]:
    @functools.wraps(task.function)
    def run(**kwargs: Any) -> Any:
        gate.passed_in_thread()
        try:
            return task.function(**kwargs)
        except BaseException as error:
            _note(record, error)
            raise
        finally:
            gate.run_ended(task.name)
            gate.passed_in_thread()

    return run


def _note(record: Record, error: BaseException) -> None:
    context = current_or_none()
    if context is not None and not isinstance(error, asyncio.CancelledError):
        record.raised(context.id, context.attempt, error)
