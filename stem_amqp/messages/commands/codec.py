"""Read commands."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from stem_amqp.errors import DecodeError
from stem_amqp.messages.commands.base import COMMAND_BYTES, Command
from stem_amqp.messages.commands.confirm import Confirm
from stem_amqp.messages.commands.directed import Directed
from stem_amqp.messages.commands.order import Order
from stem_amqp.messages.commands.question import AskStatistics, Inspect, Ping
from stem_amqp.messages.commands.report import ReportFields
from stem_amqp.messages.commands.revoke import RevokeFields
from stem_amqp.messages.commands.shutdown import ShutDown

_ORDERS: dict[str, type[Order]] = {
    kind.NAME: kind for kind in (Ping, Inspect, AskStatistics, ShutDown, Confirm)
}


@cache
def _reader(name: str) -> TypeAdapter[Order]:
    return TypeAdapter(_ORDERS[name])


@cache
def _older() -> TypeAdapter[ReportFields | RevokeFields]:
    return TypeAdapter(Annotated[ReportFields | RevokeFields, Field(discriminator="command")])


def decode(body: bytes) -> Command:
    """Read a command.

    Raises:
        DecodeError: it is malformed, unknown to this version, or too large.
    """
    if len(body) > COMMAND_BYTES:
        raise DecodeError(f"a command can have at most {COMMAND_BYTES} bytes, not {len(body)}", b"")
    try:
        fields = orjson.loads(body)
        name = fields.get("command") if isinstance(fields, dict) else None
        if isinstance(name, str) and name in _ORDERS:
            return _reader(name).validate_python(fields)
        if name == Directed.NAME:
            return Directed(body=body)
        return _older().validate_python(fields).command_of()
    except ValidationError as error:
        raise DecodeError(_problem(error), body) from error
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the command is malformed: {error!r:.200}", body) from error


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "union_tag_invalid":
        return f"unknown command {first['input']['command']!r:.60}"
    place = ".".join(str(part) for part in first["loc"])
    return f"the command is malformed: {f'{place}: ' if place else ''}{first['msg']:.200}"
