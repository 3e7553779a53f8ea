"""The value types of a topology file, with their checks and error messages."""

from __future__ import annotations

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
from stem_amqp.topology.name_pattern import pattern_problem
from stem_amqp.topology.spec.mistake import queue_name_mistake, shown, wrong

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
"""The types of exchanges; those that begin with x- are not available on every broker."""
_LONGEST_PATTERN = 500
"""The longest pattern of a route, in characters; task names are shorter."""
NAMESPACE = "{namespace}"
"""The placeholder for the namespace in names, patterns and strings."""
LONGEST_TTL = 315_360_000.0
"""The longest TTL that RabbitMQ accepts, in seconds: ten years."""

LONGEST_DELAY = 49 * 86400.0
"""The longest delay in seconds, a little less than 32 bits of milliseconds."""
SHORTEST_TIMEOUT = 60.0
"""The interval of RabbitMQ's consumer timeout check, in seconds."""


def count(minimum: int, maximum: int, why: str) -> AfterValidator:
    """Return a check that refuses numbers out of range, with the reason."""

    def check_range(value: int) -> int:
        if value < minimum:
            raise wrong(f"must be {minimum} or more, not {value}", why)
        if value > maximum:
            raise wrong(
                f"must be at most {maximum}, not {value}", f"RabbitMQ accepts up to {maximum}."
            )
        return value

    return AfterValidator(check_range)


def _ttl(value: float) -> float:
    if not 0.001 <= value <= LONGEST_TTL:  # noqa: PLR2004 - one millisecond, RabbitMQ's unit
        raise wrong(
            f"must be from 1ms to 3650d, not {value:g} seconds", "Write for example 1h or 14d."
        )
    return value


def _delay(value: float) -> float:
    if not 0.001 <= value <= LONGEST_DELAY:  # noqa: PLR2004 - one millisecond, RabbitMQ's unit
        raise wrong(
            f"must be from 1ms to 49d, not {value:g} seconds", "Write for example 1s or 5m."
        )
    return value


def _timeout(value: float) -> float:
    if not SHORTEST_TIMEOUT <= value <= LONGEST_DELAY:
        raise wrong(
            f"must be from 1m to 49d, not {value:g} seconds",
            "RabbitMQ checks once a minute. Write for example 2h.",
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
            "It is the largest part to subtract from a wait: 0.25 is a quarter.",
        )
    return value


def _pattern(text: str) -> str:
    if not text or text != text.strip():
        raise wrong(
            f"{shown(text)} is not a valid pattern",
            'Write for example "orders.*", or "*" for all.',
        )
    if len(text) > _LONGEST_PATTERN:
        raise wrong(f"{shown(text)} has more than {_LONGEST_PATTERN} characters", "Shorten it.")
    return text


def not_a_stream(value: object) -> object:
    """Refuse a stream as a work queue, with the reason and the remedy."""
    if value == "stream":
        raise wrong(
            "a stream cannot be a work queue: RabbitMQ cannot remove, requeue or dead-letter a"
            " single message of it, so tasks could not be settled or retried",
            "Use quorum. For taps and audit, put the stream under extra_queues and bind it.",
        )
    return value


def _exchange_kind(value: object) -> object:
    if value == "x-delayed-message":
        raise wrong(
            "the delayed-message plugin is archived and stores its messages on a single node",
            "Use stem-amqp's delays: enqueue with delay or eta.",
        )
    return value


def _regex(text: str) -> str:
    problem = pattern_problem(text.replace(NAMESPACE, "stem"))
    if problem is not None:
        raise wrong(
            f"{shown(text)} {problem}",
            r"Write for example '^{namespace}\.orders$', in single quotes.",
        )
    if not text:
        raise wrong("an empty pattern matches every name on the virtual host", 'Write ".*".')
    return text


def _retry_name(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise wrong(
            f"{shown(name)} is not a valid name of a retry policy",
            "Use dotted words of letters, digits, '_' and '-', such as gentle.",
        )
    return name


def _version(value: int) -> int:
    if value != 1:
        raise wrong(f"must be 1, not {value}", "This release supports version 1 of the format.")
    return value


def _queue_name(name: str) -> str:
    mistake = queue_name_mistake(name, ())
    if mistake is not None:
        raise wrong(mistake.problem, mistake.remedy)
    return name


def _namespace(name: str) -> str:
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise wrong(
            f"{name!r} is not a valid namespace",
            f"Use dotted words of letters, digits, '_' and '-', at most {NAME_LIMIT} characters.",
        )
    return name


def empty(value: object) -> object:
    """Read a key without a value as an empty mapping: ``orders:`` is a queue with the defaults."""
    return {} if value is None else value


def empty_list(value: object) -> object:
    """Read a key without a value as an empty list."""
    return () if value is None else value


EXCHANGE_KINDS: tuple[str, ...] = get_args(_EXCHANGE_KIND)
ExchangeKind = Annotated[_EXCHANGE_KIND, BeforeValidator(_exchange_kind)]
Length = Annotated[
    StrictInt,
    count(1, 2**31 - 1, "Remove the key for a queue without a limit."),
    Field(json_schema_extra={"minimum": 1}),
]
Bytes = Annotated[
    StrictInt,
    count(1, 2**62, "Remove the key for the default, or write null for no limit."),
    Field(json_schema_extra={"minimum": 1}),
]
Slots = Annotated[
    StrictInt,
    count(
        1,
        65535,
        "0 means 'no limit' in RabbitMQ, and one worker would load the whole queue into memory.",
    ),
    Field(json_schema_extra={"minimum": 1, "maximum": 65535}),
]
Deliveries = Annotated[
    StrictInt,
    count(
        1,
        2**31 - 1,
        "RabbitMQ 3.10 drops a message at its first return if the limit is -1;"
        " write a large number such as 1000000 for 'unlimited'.",
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
    count(1, 255, "Each level costs memory on the broker; use at most 10."),
    Field(json_schema_extra={"minimum": 1, "maximum": 255}),
]
PolicyPriority = Annotated[StrictInt, count(-(2**31), 2**31 - 1, "Use a small number such as 10.")]
Members = Annotated[
    StrictInt,
    count(1, 255, "Use an odd number such as 3 or 5, at most the number of nodes."),
    Field(json_schema_extra={"minimum": 1}),
]
Retries = Annotated[
    StrictInt,
    count(0, 2**31 - 1, "0 means no retry: the first failure is dead-lettered."),
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
