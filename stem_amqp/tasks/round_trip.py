"""Convert arguments and results to JSON and back, so that a plain call in a test behaves as a real one."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from inspect import iscoroutine
from typing import Any

import orjson

from stem_amqp.tasks.arguments import Arguments
from stem_amqp.tasks.return_value import ReturnValue


def round_trip_arguments(
    arguments: Arguments, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the arguments of a call as a worker would receive them.

    Args:
        arguments: the task's.
        positional: the positional arguments, without the context.
        named: the keyword arguments, with the context and dependencies, which are not sent.

    Returns:
        All arguments by name; None if the call does not fit the signature: calling the function
            raises the right error then.

    Raises:
        ArgumentsError: an argument is invalid, or would be read back as another value.
    """
    names = [name for name in arguments.positional if name not in named]
    values = {**dict(zip(names, positional, strict=False)), **named}
    filled = arguments.dependencies | {arguments.context_parameter}
    given = {name: value for name, value in values.items() if name not in filled}
    if len(positional) > len(names) or not arguments.takes(given):
        return None
    packed = arguments.pack_named(given)
    kept = {name: value for name, value in values.items() if name in filled}
    return {**kept, **arguments.keywords(orjson.loads(orjson.dumps(packed)))}


def round_trip_result(returns: ReturnValue, value: Any) -> Any:
    """Return a result as a caller would read it; for a coroutine, a coroutine of the result.

    Args:
        returns: the task's return type.
        value: the value that was returned.

    Raises:
        ResultError: the value does not fit the annotation, or would be read back as another value.
    """
    if iscoroutine(value):
        return _of_coroutine(returns, value)
    return returns.read(returns.write(value))


async def _of_coroutine(returns: ReturnValue, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return returns.read(returns.write(await coroutine))
