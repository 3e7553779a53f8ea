"""The reference of the settings, from the settings."""

import types
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stem_amqp.durations import format_seconds
from stem_amqp.settings import PREFIX, Seconds, Settings

DECLARED = get_type_hints(Settings, include_extras=True)
WORDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    SecretStr: "text, never printed",
    Path: "path",
}


def page() -> str:
    """Return the table of all settings."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    head = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    cells = [
        f"`{PREFIX}{name.upper()}`",
        _type(DECLARED[name]),
        _default(field, _type(DECLARED[name])),
        (field.description or "").replace("|", "\\|"),
    ]
    return "| " + " | ".join(cells) + " |"


def _type(kind: Any) -> str:
    if kind == Seconds:
        return "duration: `30s`, `5m`"
    if get_origin(kind) is Annotated:
        return _type(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_type(one) for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is tuple:
        return f"{_type(get_args(kind)[0])}; several with commas"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is dict:
        return "JSON object"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    return WORDS[kind]


def _default(field: FieldInfo, kind: str) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, tuple):
        return ", ".join(_plain(one) for one in value)
    if kind.startswith("duration"):
        return f"`{format_seconds(value).replace(' ', '').replace('min', 'm')}`"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`"
