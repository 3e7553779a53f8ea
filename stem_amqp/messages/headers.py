"""AMQP headers: checks and size limits of the headers that a call may set.

A header table is sent in one frame, and RabbitMQ closes the connection if a frame is larger than the
negotiated size. Every table is therefore measured before it is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from stem_amqp.errors import ConfigurationError

COUNT_LIMIT = 64
"""The most custom headers of one call."""
SIZE_LIMIT = 8192
"""The largest size of all custom headers of one call, in bytes as AMQP encodes them."""
NAME_BYTES = 128
"""The longest name of a header in bytes, stem-amqp's limit within AMQP's."""
DEEPEST = 32
"""The deepest nesting of tables and lists. A received table that is nested deeper is not read."""
RESERVED_PREFIXES = ("x-death", "x-first-death", "x-last-death")
"""Prefixes of the headers that RabbitMQ sets when it dead-letters a message."""
STRIPPED = frozenset({"CC", "BCC", "x-delivery-count", "x-acquired-count"})
"""Headers that RabbitMQ sets or acts on; they are never copied to another message."""

_FIXED = 9
"""Bytes of a type tag and a number, or of a type tag and a size."""
_INTEGERS = range(-(2**63), 2**63)
_EPOCH = 1970


def size_of(value: Any) -> int:
    """Return an upper bound of the encoded size of a header's value in bytes.

    Args:
        value: the value, or a whole table.
    """
    if isinstance(value, str):
        return _FIXED + (len(value) if value.isascii() else len(value.encode(errors="replace")))
    if isinstance(value, (bytes, bytearray)):
        return _FIXED + len(value)
    if isinstance(value, Mapping):
        # The name's fixed part is counted like a value's, which is an upper bound
        return _FIXED + sum(size_of(name) + size_of(one) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return _FIXED + sum(map(size_of, value))
    return _FIXED


def check_custom_headers(headers: Mapping[str, Any]) -> None:
    """Check the custom headers of a call.

    Raises:
        ConfigurationError: there are too many, they are too large, a name is reserved, or a value
            cannot be written as AMQP.
    """
    given: object = headers
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"headers must be a mapping of names to values, not a {type(given).__name__}"
        )
    if len(headers) > COUNT_LIMIT:
        raise ConfigurationError(
            f"a call can have at most {COUNT_LIMIT} custom headers, not {len(headers)};"
            " put related values into meta, which is sent in the body"
        )
    for name, value in headers.items():
        problem = _name_problem(name) or unwritable({name: value})
        if problem:
            raise ConfigurationError(f"the header {name!r:.60} {problem}")
    size = size_of(headers)
    if size > SIZE_LIMIT:
        largest = max(headers, key=lambda name: size_of(headers[name]))
        raise ConfigurationError(
            f"the headers of a call can have at most {SIZE_LIMIT} bytes, not {size}; the largest is"
            f" {largest!r} with {size_of(headers[largest])}. Put it into meta, which is sent in"
            " the body, or store it elsewhere and pass a reference"
        )


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not name:
        return "must have a name"
    if not _is_name(name):
        return f"must have a UTF-8 name of at most {NAME_BYTES} bytes"
    if name in STRIPPED or name.startswith(("stem-", *RESERVED_PREFIXES)):
        return "has a name that is reserved for stem-amqp and RabbitMQ; choose another one"
    return None


def unwritable(value: Any, depth: int = DEEPEST) -> str | None:
    """Return why a value cannot be written as an AMQP header, in a few words; None if it can.

    Args:
        value: the value, or a whole table.
        depth: the levels of nesting that it may have.
    """
    if isinstance(value, str):
        return None if _is_text(value) else "contains a string that is not UTF-8 (a lone surrogate)"
    if isinstance(value, int):
        return None if value in _INTEGERS else "contains an integer beyond 64 bits"
    if isinstance(value, float):
        # Erlang has no such numbers: RabbitMQ closes a connection that sends one
        return None if math.isfinite(value) else "contains a number that is not finite"
    if value is None or isinstance(value, (bytes, bytearray)):
        return None
    if isinstance(value, datetime):
        return None if value.year >= _EPOCH else "contains a time before 1970"
    if isinstance(value, Decimal):
        return None if _fits(value) else "contains a decimal beyond 32 bits"
    if not isinstance(value, (Mapping, list, tuple)):
        return f"contains a {type(value).__name__}"
    if depth <= 0:
        return f"is nested deeper than {DEEPEST} levels"
    if isinstance(value, Mapping) and not all(map(_is_name, value)):
        return f"contains a name that is not UTF-8 of at most {NAME_BYTES} bytes"
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
    """Return a text with lone surrogates escaped, so that it can be encoded as UTF-8.

    Errors contain them where a file name was not UTF-8.
    """
    if text.isascii():
        return text
    return text.encode(errors="backslashreplace").decode()
