"""Parse JSON from the command line; errors point at the mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from stem_amqp.errors import ConfigurationError

_CONTEXT = 34
"""Characters shown before and after a mistake."""
_QUOTING = 'Quote the whole value for the shell: --args \'{"order_id": "order-42"}\''


def read_object(option: str, text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        option: the option, for the message.
        text: the JSON; ``-`` reads it from standard input.

    Raises:
        ConfigurationError: it is not a JSON object; the message points at the mistake.
    """
    if text == "-":
        text = sys.stdin.read()
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{option} is not valid JSON: {error.msg}\n{_pointer(text, error.pos)}\n  {_QUOTING}"
        ) from None
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{option} must be a JSON object of argument names and values, not {text[:60]}\n"
            f"  {_QUOTING}"
        )
    return value


def read_pairs(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """Parse ``key=value`` pairs.

    Args:
        option: the option, for the message.
        pairs: the strings.

    Raises:
        ConfigurationError: one has no key or no equals sign.
    """
    result = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise ConfigurationError(
                f"{option} {pair!r} is not a pair: write {option} request_id=abc, once for each pair"
            )
        result[key] = value
    return result


def read_values(option: str, pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``key=text`` and ``key:=JSON`` pairs.

    Args:
        option: the option, for the message.
        pairs: the strings.

    Raises:
        ConfigurationError: one has no key or no equals sign, or is not valid JSON.
    """
    result: dict[str, Any] = {}
    for key, text in read_pairs(option, pairs).items():
        name = key.removesuffix(":")
        if name and name != key:
            try:
                result[name] = json.loads(text, parse_constant=_refuse_constant)
            except json.JSONDecodeError as error:
                raise ConfigurationError(
                    f"{option} {name}:=… is not valid JSON: {error.msg}\n"
                    f"{_pointer(text, error.pos)}\n"
                    f"  For a string write {option} {name}=…, without the colon."
                ) from None
        else:
            result[key] = text
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ConfigurationError(f"{name} is not a JSON value; write null, or a number")


def _pointer(text: str, position: int) -> str:
    """Return the line with the mistake, and a caret below it."""
    begin = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[begin : end if end >= 0 else len(text)].expandtabs(1)
    column = position - begin
    first = max(0, column - _CONTEXT)
    shown = ("…" if first else "") + line[first : column + _CONTEXT]
    return f"  {shown}\n  {' ' * (column - first + bool(first))}^"
