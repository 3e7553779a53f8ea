"""Encode and decode header tables; AMQP 0-9-1, section 4.2.5.5, with RabbitMQ's errata.

Every decoded value can be encoded again: republishing a foreign message, such as a dead letter, must not
fail because of one of its headers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from stem_amqp.messages.headers import DEEPEST, NAME_BYTES

_SIZE = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")
_DECIMAL = struct.Struct(">Bi")
_MILLISECONDS = 0xFFFFFFFF
"""A larger time is in milliseconds: as seconds, it would be later than the year 2106."""
_NUMBERS = {
    b"b": struct.Struct(">b"),
    b"B": struct.Struct(">B"),
    b"s": struct.Struct(">h"),
    b"u": struct.Struct(">H"),
    b"I": struct.Struct(">i"),
    b"i": struct.Struct(">I"),
    b"l": struct.Struct(">q"),
    b"L": struct.Struct(">q"),
    b"f": struct.Struct(">f"),
    b"d": _DOUBLE,
    b"t": struct.Struct(">?"),
}
_STRING = ord("S")
_TIME = struct.Struct(">Q")
_WRITTEN = tuple((kind, _NUMBERS[kind]) for kind in (b"b", b"s", b"u", b"I", b"i", b"l"))
"""Integers are written as the first of these types that can represent them."""


def read_table(data: bytes, position: int = 0) -> tuple[dict[str, Any], int]:
    """Read a table.

    Args:
        data: bytes that contain a table.
        position: the position of the table.

    Returns:
        The table and the position after it.

    Raises:
        ValueError: it is malformed, or nested deeper than `DEEPEST`; or LookupError or struct.error.
    """
    return _table(data, position, DEEPEST)


def end_of_table(data: bytes, position: int) -> int:
    """Return the position after a table, without reading it."""
    return position + _SIZE.size + int(_SIZE.unpack_from(data, position)[0])


def _bounds(data: bytes, position: int, depth: int) -> tuple[int, int]:
    begin, end = position + _SIZE.size, end_of_table(data, position)
    if end > len(data):
        raise ValueError("a header ends before it is complete")
    if depth <= 0:
        raise ValueError(f"headers are nested deeper than {DEEPEST} levels")
    return begin, end


def _table(data: bytes, position: int, depth: int) -> tuple[dict[str, Any], int]:
    position, end = _bounds(data, position, depth)
    table: dict[str, Any] = {}
    while position < end:
        begin = position + 1
        position = begin + data[position]
        name = data[begin:position].decode()
        if data[position] == _STRING:  # most headers are strings
            table[name], position = _string(data, position + 1)
        else:
            table[name], position = _value(data, position, depth)
    return table, _ended(position, end)


def _array(data: bytes, position: int, depth: int) -> tuple[list[Any], int]:
    position, end = _bounds(data, position, depth)
    array: list[Any] = []
    while position < end:
        value, position = _value(data, position, depth)
        array.append(value)
    return array, _ended(position, end)


def _ended(position: int, end: int) -> int:
    """Return the end of a table or an array.

    A value that extends beyond it would be read again by the enclosing table, and twice as often with
    each level of nesting.
    """
    if position != end:
        raise ValueError("a header extends beyond the table or array that contains it")
    return end


def _value(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    kind = data[position : position + 1]
    position += 1
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.unpack_from(data, position)[0], position + number.size
    if kind == b"S":
        return _string(data, position)
    if kind == b"F":
        return _table(data, position, depth - 1)
    if kind == b"A":
        return _array(data, position, depth - 1)
    return _rare_value(kind, data, position)


def _string(data: bytes, position: int) -> tuple[str | bytes, int]:
    begin = position + 4
    end = begin + int.from_bytes(data[position:begin], "big")
    if end > len(data):
        raise ValueError("a header ends before it is complete")
    try:
        return data[begin:end].decode(), end
    except UnicodeDecodeError:
        return data[begin:end], end


def _rare_value(kind: bytes, data: bytes, position: int) -> tuple[Any, int]:
    if kind == b"V":
        return None, position
    if kind == b"x":
        raw, position = _raw(data, position)
        return bytearray(raw), position
    if kind == b"T":
        return _datetime(_TIME.unpack_from(data, position)[0]), position + _TIME.size
    if kind == b"D":
        scale, digits = _DECIMAL.unpack_from(data, position)
        return Decimal(digits).scaleb(-scale), position + _DECIMAL.size
    raise ValueError(f"a header is of the unknown type {kind!r}")


def _raw(data: bytes, position: int) -> tuple[bytes, int]:
    begin, end = _bounds(data, position, 1)
    return data[begin:end], end


def _datetime(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        # later than Python's last year: keep the number
        return seconds if seconds < 2**63 else seconds - 2**64


def write_table(table: Mapping[str, Any]) -> bytes:
    """Write a table.

    Args:
        table: names and values.

    Raises:
        ValueError: a value is too large or nested deeper than `DEEPEST`, or a name is too long; or
            TypeError, struct.error or ArithmeticError.
    """
    return _written_table(table, DEEPEST)


def _sized(data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + data


def _written_table(table: Mapping[str, Any], depth: int) -> bytes:
    parts: list[bytes] = []
    for name, value in table.items():
        raw = name.encode()
        if len(raw) > NAME_BYTES:
            raise ValueError(
                f"the header name {name[:40]!r}… has {len(raw)} bytes, more than {NAME_BYTES}"
            )
        try:
            parts += (bytes((len(raw),)), raw, _written(value, depth))
        except TypeError as error:
            raise TypeError(f"header {name!r}: {error}") from error
    return _sized(b"".join(parts))


def _written(value: Any, depth: int) -> bytes:
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    if depth <= 1 and isinstance(value, (Mapping, list, tuple)):
        raise ValueError(f"headers are nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        return b"F" + _written_table(value, depth - 1)
    if isinstance(value, (list, tuple)):
        return b"A" + _sized(b"".join(_written(item, depth - 1) for item in value))
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"AMQP cannot represent a {type(value).__name__}")


def _whole(value: int) -> bytes:
    for kind, number in _WRITTEN:
        try:
            return kind + number.pack(value)
        except struct.error:
            continue
    raise ValueError(f"{value} is beyond 64 bits")


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"{value} is not a number")
    whole = int("".join(map(str, digits)) or "0") * 10 ** max(exponent, 0)
    return b"D" + _DECIMAL.pack(max(-exponent, 0), -whole if sign else whole)


def _double(value: float) -> bytes:
    if not math.isfinite(value):
        # Erlang has no such numbers: RabbitMQ closes a connection that sends one
        raise ValueError(f"RabbitMQ cannot represent the number {value}")
    return b"d" + _DOUBLE.pack(value)


def _time(value: datetime) -> bytes:
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return b"T" + _TIME.pack(int(aware.timestamp()))


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    str: lambda value: b"S" + _sized(value.encode()),
    bool: lambda value: b"t\1" if value else b"t\0",
    int: _whole,
    float: _double,
    # a string that was not UTF-8 when it was read
    bytes: lambda value: b"S" + _sized(value),
    bytearray: lambda value: b"x" + _sized(bytes(value)),
    type(None): lambda _: b"V",
    datetime: _time,
    Decimal: _decimal,
}
