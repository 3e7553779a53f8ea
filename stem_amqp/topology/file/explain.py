"""Translate pydantic's errors to mistakes in terms of the topology file."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeGuard

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.mistake import OWN, Mistake, Place, did_you_mean, shown

_EXPECTED = {
    "int": ("an integer", "Write it in digits, without quotes."),
    "float": ("a number", "Write it in digits, without quotes."),
    "bool": ("true or false", "Write true or false, without quotes."),
    "string": ("a string", 'Put it in quotes; without them, "#" begins a comment in YAML.'),
    "dict": ("a mapping", "Write keys with values, such as {name: value}."),
    "model": ("a mapping", "Write keys with values, such as {name: value}."),
    "tuple": ("a list", "Begin each entry with a dash."),
}
"""The expected type and how to write it, by the first word of pydantic's error type."""

_BETWEEN = frozenset({"[key]", "[name]", "[mapping]"})
"""Parts of pydantic's locations that are not keys of the file."""
_REFUSED = {
    "auto_delete": "The exchange would be deleted with its last binding, and the broker would differ from"
    " the file. Remove it.",
    "durable": "All entities of a topology are durable. Remove it.",
    "exclusive": "A queue of a single connection cannot be part of a topology. Remove it.",
    "ha-mode": "RabbitMQ 4 has no mirrored classic queues. Use quorum queues.",
    "queue-mode": "RabbitMQ refuses or ignores it from 3.12 on. Remove it.",
    "queue-version": "RabbitMQ chooses the version itself. Remove it.",
}
"""RabbitMQ settings that are not keys of a topology file, with the reason."""


def place_of(details: ErrorDetails) -> Place:
    """Return the place of an error."""
    return tuple(part for part in details["loc"] if part not in _BETWEEN)


def mistake_of(details: ErrorDetails) -> Mistake:
    """Translate one of pydantic's errors to a mistake."""
    place, kind, value = place_of(details), details["type"], details["input"]
    word = kind.split("_", 1)[0]
    context = details.get("ctx", {})
    if kind == OWN:
        return Mistake(place=place, problem=context["problem"], remedy=context["remedy"])
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if kind == "missing":
        remedy = "Begin the file with: version: 1" if place == ("version",) else "Add it."
        return Mistake(place=place, problem="is missing", remedy=remedy)
    if kind == "literal_error":
        choices = _choices(place)
        close = did_you_mean(str(value), choices)
        return Mistake(
            place=place,
            problem=f"must be {_either(choices)}, not {shown(value)}{close}",
            remedy="Write one of them.",
        )
    if word in _EXPECTED:
        expected, remedy = _EXPECTED[word]
        if not place:  # the value is not shown: the file may be any file
            return Mistake(place=place, problem="must be a mapping", remedy=remedy)
        return Mistake(
            place=place, problem=f"must be {expected}, not {shown(value)}", remedy=remedy
        )
    problem = details["msg"].removeprefix("Value error, ").removeprefix("Input should ")
    return Mistake(
        place=place,
        problem=problem if kind == "value_error" else f"must {problem}: {shown(value)}",
        remedy=described(place),
    )


def _unknown_key(place: Place) -> Mistake:
    key, known = str(place[-1]), list(_fields(_model(place[:-1])))
    refused = _REFUSED.get(key)
    return Mistake(
        place=place,
        problem="unknown key" + ("" if refused else did_you_mean(key, known)),
        remedy=refused or f"The keys here are {', '.join(known)}.",
    )


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """Return the fields of a model by their keys in the file."""
    if model is None:
        return {}
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _either(choices: list[str]) -> str:
    return " or ".join([", ".join(choices[:-1]), choices[-1]])


def _choices(place: Place) -> list[str]:
    return [str(choice) for choice in typing.get_args(_annotation(place))]


def described(place: Place) -> str:
    """Return the model's description of a key."""
    field = _fields(_model(place[:-1])).get(str(place[-1])) if place else None
    return (field.description if field is not None else None) or "See topology/README.md."


def _model(place: Place) -> type[BaseModel] | None:
    kind = _annotation(place)
    return kind if _is_model(kind) else None


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _annotation(place: Place) -> Any:
    """Return the model's type at a place: a model, or the type of a key."""
    kind: Any = Topology
    for part in place:
        if _is_model(kind):
            field = _fields(kind).get(str(part))
            kind = None if field is None else _plain(field.annotation)
        else:
            arguments = typing.get_args(kind)
            kind = _plain(arguments[0 if isinstance(part, int) else -1]) if arguments else None
    return kind


def _plain(annotation: Any) -> Any:
    """Strip ``Annotated``, ``| None`` and the like from a type."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        rest = [_plain(argument) for argument in arguments if argument is not type(None)]
        # of a name or a mapping, the mapping has keys
        return next((kind for kind in rest if _is_model(kind)), rest[0])
    return annotation
