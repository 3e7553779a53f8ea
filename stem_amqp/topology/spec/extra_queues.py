"""Extra queues of a topology file: custom queues without tasks, for taps, audit or other applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.values import Bytes, Deliveries, Length, Priority, Ttl

_QUEUE = {"ttl", "max_length", "max_length_bytes", "overflow", "single_active_consumer"}
_DEAD = {"dead_letter_exchange", "dead_letter_key"}
KEYS: Mapping[str, frozenset[str]] = {
    "quorum": frozenset({*_QUEUE, *_DEAD, "delivery_limit"}),
    "classic": frozenset({*_QUEUE, *_DEAD, "priority"}),
    "stream": frozenset({"max_length_bytes", "max_age", "max_segment_bytes"}),
}
"""The settings of each type; RabbitMQ refuses a declaration with a setting of another type."""


class ExtraQueueSpec(Spec):
    """A custom queue for taps and audit. stem-amqp declares it and never consumes it."""

    type: Literal["quorum", "classic", "stream"] = Field(
        default="quorum",
        description="quorum is replicated; classic is not; a stream is a replicated log that keeps"
        " messages until max_age or max_length_bytes and can be read repeatedly.",
    )
    ttl: Ttl | None = Field(
        default=None, description="Older messages are dropped, or dead-lettered. Default: never."
    )
    max_age: Ttl | None = Field(
        default=None, description="Streams only: older messages are dropped, segment by segment."
    )
    max_length: Length | None = Field(
        default=None, description="The most messages; see overflow. Default: no limit."
    )
    max_length_bytes: Bytes | None = Field(
        default=None,
        description="The most bytes; see overflow. A stream drops its oldest segments. Default: no"
        " limit.",
    )
    max_segment_bytes: Bytes | None = Field(
        default=None,
        description="Streams only: bytes of a segment, the unit in which a stream drops messages."
        " Default: RabbitMQ's, 500 MB.",
    )
    overflow: Literal["drop-oldest", "refuse"] = Field(
        default="drop-oldest",
        description="A full queue: drop-oldest drops or dead-letters its oldest messages; refuse"
        " refuses further ones, and therefore also the tasks that it would get copies of.",
    )
    delivery_limit: Deliveries | None = Field(
        default=None,
        description="Quorum only: returns before the broker drops or dead-letters a message."
        " Default: practically unlimited.",
    )
    priority: Priority | None = Field(
        default=None, description="Classic only: the highest priority (x-max-priority)."
    )
    single_active_consumer: StrictBool = Field(
        default=False, description="Only one consumer at a time; if it stops, another takes over."
    )
    dead_letter_exchange: StrictStr | None = Field(
        default=None,
        description="The exchange for expired, rejected and dropped messages: one of exchanges, or one"
        " of stem-amqp. Default: none.",
    )
    dead_letter_key: StrictStr | None = Field(
        default=None,
        description="The routing key of dead letters. Default: their original key.",
    )
    external: StrictBool = Field(
        default=False,
        description="It is declared elsewhere: bindings may name it, and stem-amqp never declares or"
        " deletes it.",
    )
