"""The definition of a task, and the registry of an application's tasks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.errors import TaskDefinitionError, UnknownTaskError
from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.collected import Collected, collected_by
from stem_amqp.tasks.limit import Limit
from stem_amqp.tasks.options import TaskOptions, check_name
from stem_amqp.tasks.signature import check_function, is_async, name_of, underlying


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskDefinition:
    """A named function with its options.

    Args:
        name: the task's name on the wire.
        function: the function itself.
        options: its options.
        arguments: its parameters.
        is_async: whether it is a coroutine function; other functions run in threads.
        collected: how the function takes the items of several messages; None: it takes one message.
        dependencies: the parameters of the function that the worker opens.
        may_wait: whether a run may have to wait for limits, or for the other messages of a batch.
    """

    name: str
    function: Callable[..., Any]
    options: TaskOptions
    arguments: Arguments
    is_async: bool
    collected: Collected | None = None
    dependencies: frozenset[str] = field(init=False)
    may_wait: bool = field(init=False)

    def __post_init__(self) -> None:
        collected, options = self.collected, self.options
        opened = self.arguments if collected is None else collected
        # Once for all runs: each of them asks
        object.__setattr__(self, "dependencies", opened.dependencies)
        object.__setattr__(self, "may_wait", options.limited or options.batch is not None)

    @classmethod
    def build(
        cls, name: str, function: Callable[..., Any], options: TaskOptions, context_type: type
    ) -> TaskDefinition:
        """Check a function and define a task with it.

        Args:
            name: the task's name.
            function: the function.
            options: the checked options.
            context_type: the type of the parameter that gets the context of a run, or of a batch.

        Raises:
            TaskDefinitionError: the function or an option is not supported.
        """
        check_name("task", name)
        function = check_function(name, function)
        collected = None
        if options.batch is None:
            arguments = Arguments(function, context_type)
        else:
            collected, arguments = collected_by(function, options.batch, context_type)
        _check_limits(name, options, arguments)
        _check_equal_calls(name, options, arguments)
        _check_wrapper(name, function, arguments)
        return cls(
            name=name,
            function=function,
            options=options,
            arguments=arguments,
            is_async=is_async(function),
            collected=collected,
        )

    @property
    def description(self) -> str:
        """The description option, or the first line of the docstring."""
        return (
            self.options.description
            or (inspect.getdoc(underlying(self.function)) or "").split("\n", 1)[0]
        )


def _check_equal_calls(name: str, options: TaskOptions, arguments: Arguments) -> None:
    for what, rule in (
        ("unique", options.unique),
        ("debounced", options.debounce),
        ("throttled", options.throttle),
    ):
        by = rule.by if rule is not None else None
        unknown = [argument for argument in by or () if argument not in arguments.names]
        if not unknown:
            continue
        raise TaskDefinitionError(
            f"{name} cannot be {what} by {', '.join(unknown)}: its arguments are"
            f" {', '.join(arguments.names) or 'none'}"
        )


def _check_limits(name: str, options: TaskOptions, arguments: Arguments) -> None:
    for limit in options.own_limits:
        problem = argument_problem(name, limit, arguments)
        if problem is not None:
            raise TaskDefinitionError(problem)


def argument_problem(task: str, limit: Limit, arguments: Arguments) -> str | None:
    """Return why a limit cannot count the calls of a task by an argument, or None if it can.

    Args:
        task: the task's name.
        limit: the limit.
        arguments: the task's arguments.
    """
    argument = limit.argument
    if argument is None or arguments.takes_any or argument in arguments.names:
        return None
    close = difflib.get_close_matches(argument, arguments.names, n=1)
    meant = f"; did you mean args.{close[0]}?" if close else ""
    return (
        f"{task} cannot be limited by args.{argument}{meant}\n"
        f"  Its arguments are {', '.join(arguments.names) or 'none'}; for the caller's metadata write"
        f" meta.{argument}."
    )


def _check_wrapper(name: str, function: Callable[..., Any], arguments: Arguments) -> None:
    """Refuse an async function in a synchronous wrapper: its dependencies would close too early."""
    inner = inspect.unwrap(function)
    if arguments.dependencies and inspect.iscoroutinefunction(inner) and not is_async(function):
        raise TaskDefinitionError(
            f"{name} is an async function in a decorator's synchronous wrapper, so its dependencies would"
            " be closed before it runs; write the decorator's wrapper with async def"
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
                f"the task name {definition.name!r} is taken by {name_of(taken.function)};"
                " names are unique within an application"
            )
        self._tasks[definition.name] = definition

    def get(self, name: str) -> TaskDefinition | None:
        """Return the task of that name, or None."""
        return self._tasks.get(name)

    def __getitem__(self, name: str) -> TaskDefinition:
        """Return the task of that name.

        Raises:
            UnknownTaskError: no task has that name.
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
