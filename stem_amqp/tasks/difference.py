"""The first difference between a value that was written and the one that is read back."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_SCALARS = frozenset({str, int, bool, type(None), bytes, UUID, date, datetime, time, timedelta})
_SEQUENCES = frozenset({list, tuple, deque})
_MISSING = object()
_PLAIN = (str, int, float, bytes)
"""Types whose subclasses may be read back as the plain type, if the values are equal."""


def difference(written: Any, read: Any, *, tuples: bool = True) -> str | None:
    """Return the first difference of two values, with its path and without the values; None if equal.

    Values match if they are equal and of the same type, NaN included. Objects of classes that compare
    by identity are compared by their attributes.

    Args:
        written: the value that was given.
        read: the value that is read back.
        tuples: whether a tuple differs from a list.
    """
    ours, theirs = type(written), type(read)
    if ours is theirs:
        if ours in _SCALARS:
            return None if written == read else _changed(ours)
        if ours in _SEQUENCES:
            return _of_sequences(written, read, tuples)
        if ours is dict:
            return _of_mappings(written, read, tuples)
        return _of_same_type(written, read, tuples)
    if isinstance(written, dict) and theirs is dict:
        return _of_mappings(written, read, tuples)
    if not tuples and ours is tuple and theirs is list:
        return _of_sequences(written, read, tuples)
    if _is_plain_subclass(written, read):
        return None
    return f": a {_name(ours)} would arrive as a {_name(theirs)}"


def _of_same_type(written: Any, read: Any, tuples: bool) -> str | None:
    kind = type(written)
    if isinstance(written, BaseModel):
        return _of_models(written, read, tuples)
    if dataclasses.is_dataclass(written):
        names = [field.name for field in dataclasses.fields(written) if field.compare]
        return _of_attributes(names, written, read, tuples)
    if isinstance(written, (list, tuple)):
        return _of_sequences(written, read, tuples)
    if isinstance(written, (set, frozenset)):
        pairs = {(type(one), one) for one in written}
        return None if pairs == {(type(one), one) for one in read} else _changed(kind)
    if isinstance(written, Mapping):
        return _of_mappings(written, read, tuples)
    if _equal(written, read):
        return None
    by_identity: Any = object.__eq__
    if kind.__eq__ is by_identity and hasattr(written, "__dict__"):
        return _of_mappings(vars(written), vars(read), tuples)
    return _changed(kind)


def _of_mappings(written: Mapping[Any, Any], read: Mapping[Any, Any], tuples: bool) -> str | None:
    if written.keys() != read.keys() or _key_types(written) != _key_types(read):
        return ": the keys would arrive changed"
    for key, value in written.items():
        found = difference(value, read[key], tuples=tuples)
        if found is not None:
            return f"[{_shown(key)}]{found}"
    return None


def _key_types(mapping: Mapping[Any, Any]) -> dict[type, int]:
    return Counter(map(type, mapping))


def _of_sequences(written: Any, read: Any, tuples: bool) -> str | None:
    if len(written) != len(read):
        return f": {len(written)} items would arrive as {len(read)}"
    for index, (one, other) in enumerate(zip(written, read, strict=True)):
        found = difference(one, other, tuples=tuples)
        if found is not None:
            return f"[{index}]{found}"
    return None


def _of_models(written: BaseModel, read: BaseModel, tuples: bool) -> str | None:
    found = _of_attributes(type(written).model_fields, written, read, tuples)
    if found is not None:
        return found
    if not _equal(written.__pydantic_private__, read.__pydantic_private__):
        return f": the private attributes of a {_name(type(written))} would not arrive"
    more = written.__pydantic_extra__, read.__pydantic_extra__
    return _of_mappings(more[0] or {}, more[1] or {}, tuples) if any(more) else None


def _of_attributes(names: Iterable[str], written: Any, read: Any, tuples: bool) -> str | None:
    for name in names:
        found = difference(
            getattr(written, name, _MISSING), getattr(read, name, _MISSING), tuples=tuples
        )
        if found is not None:
            return f".{name}{found}"
    return None


def _is_plain_subclass(written: Any, read: Any) -> bool:
    """Whether a subclass of a plain type, such as numpy.float64, is read back as an equal value."""
    theirs = type(read)
    if theirs not in _PLAIN or isinstance(written, (Enum, bool)):
        return False
    return isinstance(written, theirs) and _equal(written, read)


def _equal(written: Any, read: Any) -> bool:
    try:
        if bool(written == read):
            return True
    except Exception:  # noqa: BLE001 - a user-defined comparison failed
        return False
    if isinstance(written, float):
        return math.isnan(written) and math.isnan(read)
    return isinstance(written, Decimal) and str(written) == str(read)


def _changed(kind: type) -> str:
    if hasattr(kind, "get_secret_value"):
        return f": a {_name(kind)} is written as asterisks"
    return f": a {_name(kind)} would arrive with another value"


def _name(kind: type) -> str:
    return kind.__qualname__.rsplit(".", 1)[-1]


def _shown(key: Any) -> str:
    return repr(key) if isinstance(key, (str, int)) else f"a {_name(type(key))}"
