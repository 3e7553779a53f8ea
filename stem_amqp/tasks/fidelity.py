"""Decide from pydantic's core schema which annotations survive JSON and which need checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

_EXACT = frozenset({"str", "int", "bool", "none"})
"""Types that JSON represents exactly."""
_LAX = frozenset({"any", "bytes", "date", "datetime", "decimal", "time", "timedelta", "uuid"})
"""Types that are read from strings unless they are strict; each value is verified."""
_COLLECTIONS = frozenset({"list", "set", "frozenset"})


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The checks that values of an annotation need when they are written.

    Args:
        floats: refuse NaN and infinities, which JSON cannot represent.
        values: compare every value with the one read back from plain JSON values.
        types: compare every value and its type with the one read back: for models, unions, strict
            types and all types that are not listed here.
        text: read back from JSON text only: a strict date, for example, accepts a string there and
            nowhere else.
    """

    floats: bool = False
    values: bool = False
    types: bool = False
    text: bool = False

    def __or__(self, other: Fidelity) -> Fidelity:
        return Fidelity(
            floats=self.floats or other.floats,
            values=self.values or other.values,
            types=self.types or other.types,
            text=self.text or other.text,
        )


PROVEN = Fidelity()
_FLOATS = Fidelity(floats=True)
_VALUES = Fidelity(values=True)
_TYPES = Fidelity(types=True)


_FIELD = frozenset({"type", "schema", "required", "metadata"})
"""Keys of a typed dictionary's field without alias, serializer or exclusion."""
_CONFIG = frozenset({"title", "extra_fields_behavior"})
"""Keys of a typed dictionary's configuration that do not change its fields."""
_ANY: Mapping[str, Any] = {"type": "any"}
_NOT_FOR_READING = frozenset({"metadata", "serialization"})
"""Keys of a schema that do not affect reading."""


def fidelity_of(schema: Mapping[str, Any]) -> Fidelity:
    """Return the checks that values of a schema need.

    Args:
        schema: a pydantic core schema.
    """
    found = _verified(schema)
    return replace(found, text=_needs_text(schema)) if found.types else found


def fidelity_of_adapter(adapter: TypeAdapter[Any]) -> Fidelity:
    """Return the checks that values of an annotation need; all of them if it is not resolved yet."""
    try:
        return fidelity_of(adapter.core_schema)
    except PydanticUserError:  # a type that is not defined yet
        return Fidelity(types=True)


def _needs_text(part: Any) -> bool:
    """Whether a part of a schema is strict, or decodes bytes differently from JSON."""
    if isinstance(part, dict):
        if part.get("strict") is True or part.get("val_json_bytes", "utf8") != "utf8":
            return True
        return any(
            _needs_text(inner) for name, inner in part.items() if name not in _NOT_FOR_READING
        )
    return isinstance(part, (list, tuple)) and any(map(_needs_text, part))


def _verified(schema: Mapping[str, Any]) -> Fidelity:
    kind = schema["type"]
    if "serialization" in schema:
        return _TYPES
    if kind in _EXACT:
        return PROVEN
    if kind == "float":
        return _TYPES if schema.get("strict") else _FLOATS
    if kind in _LAX:
        return _TYPES if schema.get("strict") else _VALUES
    if kind == "nullable":
        return _verified(schema["schema"])
    if kind == "literal":
        return PROVEN if _distinct(schema["expected"]) else _TYPES
    if kind == "union":
        return PROVEN if all(_is_bare(choice) for choice in schema["choices"]) else _TYPES
    return _of_container(kind, schema)


def _of_container(kind: str, schema: Mapping[str, Any]) -> Fidelity:
    if kind == "typed-dict":
        return _of_typed_dict(schema)
    if kind in _COLLECTIONS:
        if schema.get("strict") and kind != "list":
            return _TYPES
        return _joined([schema.get("items_schema", _ANY)])
    if kind == "tuple":
        return _TYPES if schema.get("strict") else _joined(schema["items_schema"])
    if kind == "dict":
        keys = schema.get("keys_schema", _ANY)
        if keys["type"] not in {"str", "any"} or "serialization" in keys:
            return _TYPES
        return _joined([keys, schema.get("values_schema", _ANY)])
    return _TYPES


def _of_typed_dict(schema: Mapping[str, Any]) -> Fidelity:
    fields = schema["fields"].values()
    unusual = schema.get("config", {}).keys() - _CONFIG or schema.get("computed_fields")
    if unusual or any(field.keys() - _FIELD for field in fields):
        return _TYPES
    more = [schema.get("extras_schema", _ANY)] if schema.get("extra_behavior") == "allow" else []
    return _joined([field["schema"] for field in fields] + more)


def _joined(schemas: Iterable[Mapping[str, Any]]) -> Fidelity:
    joined = PROVEN
    for schema in schemas:
        joined |= _verified(schema)
    return joined


def _is_bare(choice: Any) -> bool:
    """Whether a union's choice is a plain JSON type, which the reader can tell from the others."""
    return isinstance(choice, dict) and choice.keys() == {"type"} and choice["type"] in _EXACT


def _distinct(expected: Iterable[Any]) -> bool:
    """Whether a literal's values are plain JSON values, no two of them equal, as 1 and True are."""
    values = list(expected)
    return all(type(value) in (str, int, bool, type(None)) for value in values) and len(
        set(values)
    ) == len(values)
