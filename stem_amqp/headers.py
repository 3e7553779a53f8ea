"""AMQP headers: which of one's own a call may have, and how many fit beside those of stem-amqp.

A table of headers travels in one frame, and RabbitMQ closes the connection for a frame that is
larger than was agreed on. So every table that is written is measured before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from stem_amqp.errors import ConfigurationError

COUNT_LIMIT = 64
"""Headers of one's own in one call."""
SIZE_LIMIT = 8192
"""Bytes of all headers of one's own in one call, as AMQP writes them."""
NAME_BYTES = 128
"""Bytes of a header's name, AMQP's own limit."""
DEEPEST = 32
"""Levels of tables and lists in each other. A foreign table that is nested deeper is not read."""
RESERVED_PREFIXES = ("x-death", "x-first-death", "x-last-death")
"""Beginnings of names that only RabbitMQ gives: its records of deaths."""
STRIPPED = frozenset({"CC", "BCC", "x-delivery-count", "x-acquired-count"})
"""Names that RabbitMQ acts on or gives; they are never carried along."""

_FIXED = 9
"""Bytes of a type and a number, or of a type and a size."""
_INTEGERS = range(-(2**63), 2**63)
_EPOCH = 1970


def size_of(value: Any) -> int:
    """Return how many bytes a value of a header takes, at most.

    Args:
        value: the value, or a whole table.
    """
    if isinstance(value, str):
        return _FIXED + (len(value) if value.isascii() else len(value.encode(errors="replace")))
    if isinstance(value, (bytes, bytearray)):
        return _FIXED + len(value)
    if isinstance(value, Mapping):
        # 2 for the size of the name and the type of its value is part of the latter
        return _FIXED + sum(size_of(name) + size_of(one) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return _FIXED + sum(map(size_of, value))
    return _FIXED


def check_own(headers: Mapping[str, Any]) -> None:
    """Make sure that a call may have these headers.

    Raises:
        ConfigurationError: there are too many, they are too large, one of the names is taken, or a
            value cannot be written as AMQP.
    """
    if len(headers) > COUNT_LIMIT:
        raise ConfigurationError(
            f"a call has at most {COUNT_LIMIT} headers of its own, not {len(headers)};"
            " put what belongs together into meta, which travels in the body"
        )
    for name, value in headers.items():
        problem = _name_problem(name) or unwritable({name: value})
        if problem:
            raise ConfigurationError(f"the header {name!r:.60} {problem}")
    size = size_of(headers)
    if size > SIZE_LIMIT:
        largest = max(headers, key=lambda name: size_of(headers[name]))
        raise ConfigurationError(
            f"the headers of a call take at most {SIZE_LIMIT} bytes, not {size}; the largest is"
            f" {largest!r} with {size_of(headers[largest])}. Put it into meta, which travels in"
            " the body, or store it elsewhere and pass a reference"
        )


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not name:
        return "must have a name"
    if not _is_name(name):
        return f"must have a name of UTF-8 text, at most {NAME_BYTES} bytes"
    if name in STRIPPED or name.startswith(("stem-", *RESERVED_PREFIXES)):
        return "has a name that only stem-amqp and RabbitMQ give; choose another one"
    return None


def unwritable(value: Any, depth: int = DEEPEST) -> str | None:
    """Return why AMQP cannot carry a value of a header, in a few words; None if it can.

    Args:
        value: the value, or a whole table.
        depth: levels that it may have.
    """
    if isinstance(value, str):
        return None if _is_text(value) else "holds a text that is no UTF-8 (a lone surrogate)"
    if isinstance(value, int):
        return None if value in _INTEGERS else "holds a number beyond 64 bits"
    if isinstance(value, float):
        # Erlang has no such numbers: RabbitMQ ends the connection that brings one
        return None if math.isfinite(value) else "holds a number that is not finite"
    if value is None or isinstance(value, (bytes, bytearray)):
        return None
    if isinstance(value, datetime):
        return None if value.year >= _EPOCH else "holds a time before 1970"
    if isinstance(value, Decimal):
        return None if _fits(value) else "holds a decimal beyond 32 bits"
    if not isinstance(value, (Mapping, list, tuple)):
        return f"holds a {type(value).__name__}"
    if depth <= 0:
        return f"is nested deeper than {DEEPEST} levels"
    if isinstance(value, Mapping) and not all(map(_is_name, value)):
        return f"holds a name that is no UTF-8 text of at most {NAME_BYTES} bytes"
    parts = value.values() if isinstance(value, Mapping) else value
    return next((problem for part in parts if (problem := unwritable(part, depth - 1))), None)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _is_text(name) and len(name.encode()) <= NAME_BYTES


def _fits(value: Decimal) -> bool:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not -256 < exponent <= 9:  # noqa: PLR2004 - one byte; ten digits
        return False
    return len(digits) <= 10 and int("".join(map(str, digits))) * 10 ** max(exponent, 0) < 2**31  # noqa: PLR2004


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(text: str) -> str:
    """Return a text as UTF-8 can carry it: lone surrogates are escaped.

    Errors carry them where the name of a file was no UTF-8.
    """
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()
