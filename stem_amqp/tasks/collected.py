"""The function of a batch task: what one message carries, and how the function takes all of them."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from stem_amqp.errors import TaskDefinitionError
from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.batch import Batch
from stem_amqp.tasks.dependencies import check_dependencies, dependencies_of
from stem_amqp.tasks.signature import hints_of, name_of

_LISTS = (list, abc.Sequence)


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """How the function of a batch task is called.

    Args:
        items: the name of its parameter for the list of items.
        context: the name of its parameter for the context of the batch, if it has one.
        dependencies: the names of its parameters that the worker opens.
        argument: the name of the one argument in each message.
    """

    items: str
    context: str | None
    dependencies: frozenset[str]
    argument: str


def collected_by(
    function: Callable[..., Any], batch: Batch, context_type: type
) -> tuple[Collected, Arguments]:
    """Return how a batch task's function is called, and the arguments of one message.

    Args:
        function: the function; it takes a list.
        batch: the option.
        context_type: the type of the parameter for the context of a batch.

    Raises:
        TaskDefinitionError: the function does not take one list, or returns something else than a list.
    """
    where = name_of(function)
    hints = hints_of(function, where)
    check_dependencies(where, function, context_type)
    dependencies = frozenset(dependencies_of(function))
    own: list[str] = []
    context: str | None = None
    for name in inspect.signature(function).parameters:
        if hints.get(name) is context_type:
            context = name
        elif name not in dependencies:
            own.append(name)
    if len(own) != 1:
        raise TaskDefinitionError(
            f"{where}: a batch task takes one list of items, and not the parameters"
            f" ({', '.join(own)}): write def f(items: list[Item]), where Item may be a dataclass, a"
            " TypedDict or a tuple if a message carries several values"
        )
    item = _element(where, f"the parameter {own[0]!r}", hints.get(own[0], Any))
    result = _returned(where, hints.get("return", Any))
    arguments = Arguments(_one(function, batch.argument, item, result), context_type)
    return (
        Collected(
            items=own[0], context=context, dependencies=dependencies, argument=batch.argument
        ),
        arguments,
    )


def _one(function: Callable[..., Any], argument: str, item: Any, result: Any) -> Callable[..., Any]:
    """Return a function with the signature of one message."""

    def one(**_: Any) -> None: ...

    one.__module__, _, one.__qualname__ = name_of(function).rpartition(".")
    parameter = inspect.Parameter(
        argument, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=item
    )
    one.__annotations__ = {argument: item, "return": result}
    one.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # what inspect reads
        [parameter], return_annotation=result
    )
    return one


def _element(where: str, what: str, annotation: Any) -> Any:
    if annotation is Any:
        return Any
    if (get_origin(annotation) or annotation) not in _LISTS:
        raise TaskDefinitionError(
            f"{where}: {what} of a batch task is annotated as {_shown(annotation)}; write"
            " list[…] with the type of one item"
        )
    return (get_args(annotation) or (Any,))[0]


def _returned(where: str, annotation: Any) -> Any:
    if annotation in (None, type(None)):
        return None
    if annotation is not Any and (get_origin(annotation) or annotation) not in _LISTS:
        raise TaskDefinitionError(
            f"{where}: a batch task returns None, or a list with one result for each item; its return"
            f" annotation is {_shown(annotation)}"
        )
    return _element(where, "the return type", annotation)


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
