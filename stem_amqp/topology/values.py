"""The kinds of values in a topology file, each with what it refuses and why."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from stem_amqp.durations import seconds
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.topology.mistake import queue_name_mistake, shown, wrong

_EXCHANGE_KIND = Literal[
    "topic",
    "direct",
    "fanout",
    "headers",
    "x-consistent-hash",
    "x-modulus-hash",
    "x-random",
    "x-local-random",
    "x-recent-history",
]
"""The types of exchanges; those that begin with x- do not stand on every broker."""
NAMESPACE = "{namespace}"
"""Stands for the namespace in names, patterns and texts."""
LONGEST_TTL = 315_360_000.0
"""Seconds of the longest TTL that RabbitMQ takes, ten years."""

LONGEST_DELAY = 49 * 86400.0
"""Seconds, a bit less than 32 bits of milliseconds."""
SHORTEST_TIMEOUT = 60.0
"""Seconds between two looks of RabbitMQ at its consumers."""


def count(least: int, most: int, why: str) -> AfterValidator:
    """Refuse numbers out of range, with the reason."""

    def check_range(value: int) -> int:
        if value < least:
            raise wrong(f"must be {least} or more, not {value}", why)
        if value > most:
            raise wrong(f"must be at most {most}, not {value}", f"RabbitMQ takes up to {most}.")
        return value

    return AfterValidator(check_range)


def _ttl(value: float) -> float:
    if not 0.001 <= value <= LONGEST_TTL:  # noqa: PLR2004 - one millisecond, RabbitMQ's unit
        raise wrong(f"must be from 1ms to 3650d, not {value:g} seconds", "Write such as 1h or 14d.")
    return value


def _delay(value: float) -> float:
    if not 0.001 <= value <= LONGEST_DELAY:  # noqa: PLR2004 - one millisecond, RabbitMQ's unit
        raise wrong(f"must be from 1ms to 49d, not {value:g} seconds", "Write such as 1s or 5m.")
    return value


def _timeout(value: float) -> float:
    if not SHORTEST_TIMEOUT <= value <= LONGEST_DELAY:
        raise wrong(
            f"must be from 1m to 49d, not {value:g} seconds",
            "RabbitMQ looks once a minute. Write such as 2h.",
        )
    return value


def _factor(value: float) -> float:
    if value < 1:
        raise wrong(f"must be 1 or more, not {value:g}", "Waits must not become shorter.")
    return value


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise wrong(
            f"must be from 0 to 1, not {value:g}",
            "It is the largest part of a wait to take off: 0.25 is a quarter.",
        )
    return value


def _pattern(text: str) -> str:
    if not text or text != text.strip():
        raise wrong(f"{shown(text)} is no pattern", 'Write such as "orders.*", or "*" for all.')
    return text


def not_a_stream(value: object) -> object:
    """Refuse a stream as a work queue, with the reason and the remedy."""
    if value == "stream":
        raise wrong(
            "a stream cannot be a work queue: RabbitMQ removes no single message from it, takes"
            " none back and dead-letters none, so tasks could not be settled or retried",
            "Use quorum. For taps and audit, put the stream under extra_queues and bind it.",
        )
    return value


def _exchange_kind(value: object) -> object:
    if value == "x-delayed-message":
        raise wrong(
            "the delayed-message plugin is archived, and keeps its messages on one node only",
            "Use stem-amqp's delays: enqueue with delay or eta.",
        )
    return value


def _regex(text: str) -> str:
    try:
        re.compile(text.replace(NAMESPACE, "stem"))
    except re.error as error:
        raise wrong(
            f"{shown(text)} is no regular expression: {error}",
            r"Write such as '^{namespace}\.orders$', in single quotes.",
        ) from None
    if not text:
        raise wrong("an empty pattern fits every name on the virtual host", 'Write such as ".*".')
    return text


def _retry_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise wrong(
            f"{shown(name)} is no name of a retry policy",
            "Use dotted words of letters, digits, '_' and '-', such as gentle.",
        )
    return name


def _version(value: int) -> int:
    if value != 1:
        raise wrong(f"must be 1, not {value}", "This release reads version 1 of the format.")
    return value


def _queue_name(name: str) -> str:
    mistake = queue_name_mistake(name, ())
    if mistake is not None:
        raise wrong(mistake.problem, mistake.remedy)
    return name


def _namespace(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise wrong(
            f"{name!r} is no namespace",
            f"Use dotted words of letters, digits, '_' and '-', at most {NAME_LIMIT} characters.",
        )
    return name


def empty(value: object) -> object:
    """Read a key with nothing behind it as an empty mapping: ``orders:`` is a plain queue."""
    return {} if value is None else value


def empty_list(value: object) -> object:
    """Read a key with nothing behind it as an empty list."""
    return () if value is None else value


EXCHANGE_KINDS: tuple[str, ...] = get_args(_EXCHANGE_KIND)
ExchangeKind = Annotated[_EXCHANGE_KIND, BeforeValidator(_exchange_kind)]
Length = Annotated[
    StrictInt,
    count(1, 2**31 - 1, "Leave the key out for a queue without a limit."),
    Field(json_schema_extra={"minimum": 1}),
]
Bytes = Annotated[
    StrictInt,
    count(1, 2**62, "Leave the key out for the default, or write null for no limit."),
    Field(json_schema_extra={"minimum": 1}),
]
Slots = Annotated[
    StrictInt,
    count(
        1,
        65535,
        "0 means 'no limit' to RabbitMQ, and one worker would take the whole queue into memory.",
    ),
    Field(json_schema_extra={"minimum": 1, "maximum": 65535}),
]
Deliveries = Annotated[
    StrictInt,
    count(
        1,
        2**31 - 1,
        "RabbitMQ 3.10 drops a message at its first return when the limit is -1;"
        " write a large number, such as 1000000, to mean 'unlimited'.",
    ),
    Field(json_schema_extra={"minimum": 1}),
]
_DURATION_SCHEMA: dict[str, JsonValue] = {
    "anyOf": [
        {
            "type": "string",
            "pattern": r"^\s*(\d+(\.\d+)?(ms|s|m|h|d|w))+\s*$",
            "examples": ["200ms", "30s", "5m", "1h30m", "14d"],
        },
        {"type": "number", "minimum": 0},
    ]
}
Wait = Annotated[float, BeforeValidator(seconds), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds, also written as ``30s`` or ``5m``."""
Ttl = Annotated[
    float, BeforeValidator(seconds), AfterValidator(_ttl), WithJsonSchema(_DURATION_SCHEMA)
]
Delay = Annotated[
    float, BeforeValidator(seconds), AfterValidator(_delay), WithJsonSchema(_DURATION_SCHEMA)
]
Timeout = Annotated[
    float, BeforeValidator(seconds), AfterValidator(_timeout), WithJsonSchema(_DURATION_SCHEMA)
]
Factor = Annotated[
    float,
    Field(strict=True, json_schema_extra={"minimum": 1}),
    AfterValidator(_factor),
]
Share = Annotated[
    float,
    Field(strict=True, json_schema_extra={"minimum": 0, "maximum": 1}),
    AfterValidator(_share),
]
RetryName = Annotated[StrictStr, AfterValidator(_retry_name)]
Regex = Annotated[StrictStr, AfterValidator(_regex)]
LogicalName = Annotated[str, AfterValidator(_queue_name)]
NamespaceName = Annotated[StrictStr, AfterValidator(_namespace)]
Priority = Annotated[
    StrictInt,
    count(1, 255, "Each level costs the broker memory; up to 10 is advisable."),
    Field(json_schema_extra={"minimum": 1, "maximum": 255}),
]
PolicyPriority = Annotated[
    StrictInt, count(-(2**31), 2**31 - 1, "A small number will do, such as 10.")
]
Members = Annotated[
    StrictInt,
    count(1, 255, "An odd number such as 3 or 5, at most as many as there are nodes."),
    Field(json_schema_extra={"minimum": 1}),
]
Retries = Annotated[
    StrictInt,
    count(0, 2**31 - 1, "0 means no retry: the first failure goes to the dead-letter queue."),
    Field(json_schema_extra={"minimum": 0}),
]
Version = Annotated[
    StrictInt,
    AfterValidator(_version),
    Field(json_schema_extra={"const": 1}),
]
Generation = Annotated[
    StrictInt,
    count(1, 9999, "The first version is 1."),
    Field(json_schema_extra={"minimum": 1, "maximum": 9999}),
]
Pattern = Annotated[StrictStr, AfterValidator(_pattern)]
