"""Whether what one task returns can be an argument of the next: a comparison of both in JSON.

The annotations are compared as JSON schemas, since the value travels as JSON: a ``datetime`` may become a
``str``, and one model another with the same fields. A value is refused only if it surely does not fit.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

Schema: TypeAlias = Mapping[str, Any]
Side: TypeAlias = Literal["serialization", "validation"]

DEEPEST = 8
"""Levels that are compared; what is deeper is taken to fit."""
_ANY_TEXT = {"path", "password", "binary"}
"""Formats that every string has."""
_MODULES = re.compile(r"\b(?:\w+\.)+(?=\w)")
"""The names of the modules in the text of an annotation."""


def fits(returned: Any, taken: Any) -> bool:
    """Return whether values of one annotation can be arguments with another.

    Args:
        returned: the annotation of what a task returns.
        taken: the annotation of the parameter.

    Returns:
        False if values surely do not fit; True also if that is not known.
    """
    if returned is Any or taken is Any or returned is taken:
        return True
    given, wanted = _schema(returned, "serialization"), _schema(taken, "validation")
    if given is None or wanted is None:
        return True
    return _Comparison(given, wanted).accepts(given, wanted, 0)


def shown(annotation: Any) -> str:
    """Return an annotation as a programmer writes it."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    return _MODULES.sub("", str(annotation))


def _schema(annotation: Any, side: Side) -> Schema | None:
    try:
        return _cached(annotation, side)
    except TypeError:  # an annotation that cannot be a key
        return _made(annotation, side)


@lru_cache(maxsize=1000)
def _cached(annotation: Any, side: Side) -> Schema | None:
    return _made(annotation, side)


def _made(annotation: Any, side: Side) -> Schema | None:
    try:
        return TypeAdapter(annotation).json_schema(mode=side, by_alias=False)
    except Exception:  # noqa: BLE001 - pydantic has several errors for a type without a schema
        return None


class _Comparison:
    """Compares two schemas, each with its definitions."""

    def __init__(self, returned: Schema, taken: Schema) -> None:
        self._returned: Schema = returned.get("$defs", {})
        self._taken: Schema = taken.get("$defs", {})

    def accepts(self, returned: Any, taken: Any, depth: int) -> bool:
        """Return whether a value with one schema fits another; True if that is not known."""
        if depth > DEEPEST or not isinstance(returned, Mapping) or not isinstance(taken, Mapping):
            return True
        returned, taken = _resolved(returned, self._returned), _resolved(taken, self._taken)
        for name in ("anyOf", "oneOf"):
            if name in returned:
                return all(self.accepts(one, taken, depth + 1) for one in returned[name])
        for name in ("anyOf", "oneOf"):
            if name in taken:
                return any(self.accepts(returned, one, depth + 1) for one in taken[name])
        return self._accepts_one(returned, taken, depth)

    def _accepts_one(self, returned: Schema, taken: Schema, depth: int) -> bool:
        choices = _choices(taken)
        if choices is not None:
            given = _choices(returned)
            known = given is not None or "type" in returned
            return not known if given is None else all(one in choices for one in given)
        kind, wanted = _kind(returned), _kind(taken)
        if kind is None or wanted is None:
            return True
        if kind != wanted:
            return kind == "integer" and wanted == "number"
        if kind == "string":
            return _accepts_text(returned, taken)
        if kind == "array":
            return self._accepts_items(returned, taken, depth + 1)
        return kind != "object" or self._accepts_fields(returned, taken, depth + 1)

    def _accepts_items(self, returned: Schema, taken: Schema, depth: int) -> bool:
        given, wanted = returned.get("prefixItems"), taken.get("prefixItems")
        if given is not None and wanted is not None:
            same = len(given) == len(wanted) or "items" in returned or "items" in taken
            return same and all(
                self.accepts(one, other, depth) for one, other in zip(given, wanted, strict=False)
            )
        each: Sequence[Any] = given if given is not None else [returned.get("items")]
        return all(self.accepts(one, taken.get("items"), depth) for one in each)

    def _accepts_fields(self, returned: Schema, taken: Schema, depth: int) -> bool:
        given, wanted = returned.get("properties"), taken.get("properties")
        more, others = returned.get("additionalProperties"), taken.get("additionalProperties")
        if given is None:
            return wanted is not None or self.accepts(more, others, depth)
        if wanted is None:
            return all(self.accepts(field, others, depth) for field in given.values())
        if any(name not in given for name in taken.get("required", ())):
            return False
        if others is False and any(name not in wanted for name in given):
            return False
        return all(
            self.accepts(given[name], wanted[name], depth) for name in wanted if name in given
        )


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    for _ in range(DEEPEST):
        name = schema.get("$ref")
        if name is None:
            return schema
        found = definitions.get(str(name).rpartition("/")[2])
        if not isinstance(found, Mapping):
            return {}
        schema = found
    return {}


def _choices(schema: Schema) -> Sequence[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: Sequence[Any] | None = schema.get("enum")
    return found


def _kind(schema: Schema) -> str | None:
    kind = schema.get("type")
    return kind if isinstance(kind, str) else None


def _accepts_text(returned: Schema, taken: Schema) -> bool:
    wanted = taken.get("format")
    if wanted is None or wanted in _ANY_TEXT or returned.get("format") == wanted:
        return True
    # The text of a choice, such as an enum's, is not compared with a format
    return _choices(returned) is not None
