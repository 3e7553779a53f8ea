"""A task as its worker knows it, and the registry of all tasks of an application."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stem_amqp.arguments import Arguments
from stem_amqp.errors import TaskDefinitionError, UnknownTaskError
from stem_amqp.options import TaskOptions, check_name


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskDefinition:
    """A named function with its options.

    Args:
        name: the task's name on the wire.
        function: the function itself.
        options: its options.
        arguments: its parameters.
        is_async: whether it is a coroutine function; others run in threads.
    """

    name: str
    function: Callable[..., Any]
    options: TaskOptions
    arguments: Arguments
    is_async: bool

    @classmethod
    def build(
        cls, name: str, function: Callable[..., Any], options: TaskOptions, context_type: type
    ) -> TaskDefinition:
        """Look at a function and make it a task.

        Raises:
            TaskDefinitionError: it cannot become one.
        """
        check_name("task", name)
        if inspect.isclass(function) or not callable(function):
            raise TaskDefinitionError(f"{name}: {function!r} is no function")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TaskDefinitionError(f"{name}: a generator cannot be a task; return a value")
        arguments = Arguments(function, context_type)
        _check_unique(name, options, arguments)
        return cls(
            name=name,
            function=function,
            options=options,
            arguments=arguments,
            is_async=inspect.iscoroutinefunction(function),
        )

    @property
    def description(self) -> str:
        """The description option, or the first line of the docstring."""
        return self.options.description or (inspect.getdoc(self.function) or "").split("\n", 1)[0]


def _check_unique(name: str, options: TaskOptions, arguments: Arguments) -> None:
    by = options.unique.by if options.unique is not None else None
    unknown = [argument for argument in by or () if argument not in arguments.names]
    if unknown:
        raise TaskDefinitionError(
            f"{name} cannot be unique by {', '.join(unknown)}: its arguments are"
            f" {', '.join(arguments.names) or 'none'}"
        )


class Registry:
    """The tasks of an application by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, TaskDefinition] = {}

    def add(self, definition: TaskDefinition) -> None:
        """Add a task.

        Raises:
            TaskDefinitionError: the name is taken.
        """
        taken = self._tasks.get(definition.name)
        if taken is not None:
            raise TaskDefinitionError(
                f"the task name {definition.name!r} is taken by {taken.function.__module__}."
                f"{taken.function.__qualname__}; names are unique within an application"
            )
        self._tasks[definition.name] = definition

    def get(self, name: str) -> TaskDefinition | None:
        """Return the task of that name, or None."""
        return self._tasks.get(name)

    def __getitem__(self, name: str) -> TaskDefinition:
        """Return the task of that name.

        Raises:
            UnknownTaskError: there is none.
        """
        definition = self._tasks.get(name)
        if definition is None:
            close = difflib.get_close_matches(name, self._tasks, n=1)
            raise UnknownTaskError(
                f"there is no task {name!r} here"
                + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return definition

    def __iter__(self) -> Iterator[TaskDefinition]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)
