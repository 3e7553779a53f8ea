"""The canonical form of a value: it is the same for equal values in every process."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

_EXACT = frozenset({str, bool, int, type(None)})
_LONG = 64
"""Digits of a decimal above which it is written with an exponent."""
_WHOLE = 2.0**53
"""From this number on, a float cannot represent every integer."""


def canonical(value: Any) -> Any:
    """Return JSON values that are equal for equal values.

    Sets are sorted, integral floats become integers, decimals lose trailing zeros, and aware times
    are converted to UTC. ``True`` and ``1`` differ.

    Args:
        value: JSON values, or typed values that were validated from JSON.

    Raises:
        ValueError: the type is not supported.
    """
    if type(value) in _EXACT:
        return value
    if isinstance(value, Enum):
        return canonical(value.value)
    if isinstance(value, float):
        return _of_float(value)
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, (BaseModel, Mapping)) or dataclasses.is_dataclass(value):
        return {_key(name): canonical(one) for name, one in _items(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(map(canonical, value), key=_bytes)
    if isinstance(value, (list, tuple, deque)):
        return [canonical(one) for one in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC)
    reveal = getattr(value, "get_secret_value", None)
    return to_jsonable_python(value) if reveal is None else canonical(reveal())


def _of_float(value: float) -> int | float | str:
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < _WHOLE else float(value)


def _of_decimal(value: Decimal) -> str:
    if not value.is_finite():
        return str(value)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or not any(digits):
        return "0"
    while digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    exact = Decimal((sign, digits, exponent))
    return f"{exact:f}" if abs(exact.adjusted()) < _LONG else str(exact)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, BaseModel):
        own = [(name, getattr(value, name)) for name in type(value).model_fields]
        return [*own, *(value.__pydantic_extra__ or {}).items()]
    return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]


def _key(key: Any) -> str:
    """Return an object's key as JSON writes it."""
    form = canonical(key)
    return form if isinstance(form, str) else orjson.dumps(form).decode()


def _bytes(form: Any) -> bytes:
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
