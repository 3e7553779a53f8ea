"""Validation that stops at the first invalid item of a list, a set or a mapping.

Pydantic collects every error, at about 240 bytes each: a quarter of a gigabyte for a message with a
million invalid items. Large messages are therefore validated this way.
"""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

_COLLECTIONS = frozenset(
    {"list", "tuple", "set", "frozenset", "dict", "deque", "frozendict", "ordered-dict", "counter"}
)
_INNER = frozenset(
    {
        "arguments_schema", "choices", "definitions", "extras_schema", "fields", "inner_schema",
        "items_schema", "json_schema", "keys_schema", "lax_schema", "python_schema", "schema",
        "steps", "strict_schema", "values_schema",
    }
)  # fmt: skip
"""Keys of a schema that hold other schemas. Other keys hold user values, such as defaults."""


def fail_fast(adapter: TypeAdapter[Any]) -> SchemaValidator | None:
    """Return a validator that stops at the first error; None where pydantic cannot build one.

    Args:
        adapter: the annotation's adapter.
    """
    with contextlib.suppress(Exception):  # the format of pydantic's schemas is not public
        schema = _stopping(adapter.core_schema)
        try:
            return SchemaValidator(schema, _use_prebuilt=False)
        except TypeError:  # pydantic 2.12
            return SchemaValidator(schema)
    return None


def _stopping(schema: Any) -> Any:
    """Return a schema in which every collection stops at its first invalid item."""
    changed = {key: _inner(value) if key in _INNER else value for key, value in schema.items()}
    if changed.get("type") in _COLLECTIONS:
        changed["fail_fast"] = True
    return changed


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        # One schema, or a mapping of names to schemas
        if isinstance(value.get("type"), str):
            return _stopping(value)
        return {name: _inner(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_inner(one) for one in value)
    return value
