"""Check what ``map``, ``starmap`` and ``chunks`` get: a wrong value is named instead of failing somewhere inside."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any

from stem_amqp.durations import shown
from stem_amqp.errors import ArgumentsError, ConfigurationError

_TEXTS = (str, bytes, bytearray, memoryview)


def items_of(where: str, items: object) -> Iterator[Any]:
    """Return an iterator over the items of a group.

    Args:
        where: the method, such as ``resize.map``.
        items: what it was given.

    Raises:
        ArgumentsError: they are not an iterable; or a text, bytes or a mapping, whose characters, numbers or keys are
            hardly meant.
    """
    expected = f"{where} takes an iterable of items, not {_described(items)}"
    if isinstance(items, _TEXTS):
        raise ArgumentsError(
            f"{expected}\n  For one call, write [{shown(items)}]; for a call for each element, list({shown(items)})"
        )
    if isinstance(items, Mapping):
        raise ArgumentsError(
            f"{expected}\n  Write which part of it is meant: list(…) for its keys, .values() or .items()"
        )
    return _iterated(expected, items)


def arguments_of(where: str, item: object) -> tuple[Any, ...]:
    """Return the arguments of one call of ``starmap``.

    Args:
        where: the call, such as ``call 3 of the group``.
        item: what it was given.

    Raises:
        ArgumentsError: it is not an iterable; or a text, bytes or a mapping.
    """
    expected = f"{where}: starmap takes a tuple of arguments for each call, not {_described(item)}"
    if isinstance(item, (*_TEXTS, Mapping)):
        raise ArgumentsError(
            f"{expected}\n  For a single argument, write ({shown(item)},), or use map"
        )
    return tuple(_iterated(expected, item))


def chunk_size(where: str, size: object) -> int:
    """Return the size of a chunk.

    Args:
        where: the method, such as ``total.chunks``.
        size: what it was given.

    Raises:
        ConfigurationError: it is not a whole number of at least 1.
    """
    if type(size) is not int or size < 1:
        raise ConfigurationError(
            f"{where}: the size of a chunk is a whole number, at least 1 item, not {shown(size)}"
        )
    return size


def _iterated(expected: str, value: object) -> Iterator[Any]:
    if isinstance(value, Iterable):
        return iter(value)
    if isinstance(value, AsyncIterable):
        raise ArgumentsError(f"{expected}\n  Collect it first: [item async for item in …]")
    raise ArgumentsError(f"{expected}\n  For a single one, write it in a list")


def _described(value: object) -> str:
    return f"{shown(value)} ({type(value).__name__})"
