"""A queue of your own that holds no tasks: a tap, an audit log, what another application reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, StrictBool, StrictStr

from stem_amqp.topology.specs import Spec
from stem_amqp.topology.values import Bytes, Deliveries, Length, Priority, Ttl

_QUEUE = {"ttl", "max_length", "max_length_bytes", "overflow", "single_active_consumer"}
_DEAD = {"dead_letter_exchange", "dead_letter_key"}
KEYS: Mapping[str, frozenset[str]] = {
    "quorum": frozenset({*_QUEUE, *_DEAD, "delivery_limit"}),
    "classic": frozenset({*_QUEUE, *_DEAD, "priority"}),
    "stream": frozenset({"max_length_bytes", "max_age", "max_segment_bytes"}),
}
"""Which settings each type has; RabbitMQ refuses a declaration with one of another type."""


class ExtraQueueSpec(Spec):
    """A queue of your own for taps and audit. stem-amqp declares it and never consumes it."""

    type: Literal["quorum", "classic", "stream"] = Field(
        default="quorum",
        description="quorum is replicated; classic is not; a stream is a replicated log, in which"
        " everything stays until max_age or max_length_bytes and anyone can read it again.",
    )
    ttl: Ttl | None = Field(
        default=None, description="Older messages are dropped, or dead-lettered. Default: never."
    )
    max_age: Ttl | None = Field(
        default=None, description="Streams only: what is older is dropped, segment by segment."
    )
    max_length: Length | None = Field(
        default=None, description="Messages at most; see overflow. Default: no limit."
    )
    max_length_bytes: Bytes | None = Field(
        default=None,
        description="Bytes at most; see overflow. A stream drops its oldest segments. Default: no"
        " limit.",
    )
    max_segment_bytes: Bytes | None = Field(
        default=None,
        description="Streams only: bytes of a segment, the unit in which a stream drops."
        " Default: RabbitMQ's, 500 MB.",
    )
    overflow: Literal["drop-oldest", "refuse"] = Field(
        default="drop-oldest",
        description="A full queue: drop-oldest drops or dead-letters its oldest messages; refuse"
        " refuses further ones, and so also the tasks of which it gets copies.",
    )
    delivery_limit: Deliveries | None = Field(
        default=None,
        description="Quorum only: returns before the broker drops or dead-letters a message."
        " Default: as good as none.",
    )
    priority: Priority | None = Field(
        default=None, description="Classic only: the highest priority (x-max-priority)."
    )
    single_active_consumer: StrictBool = Field(
        default=False, description="Only one consumer at a time; another takes over."
    )
    dead_letter_exchange: StrictStr | None = Field(
        default=None,
        description="Where expired, rejected and dropped messages go: one of the exchanges here or"
        " one of ours. Default: nowhere.",
    )
    dead_letter_key: StrictStr | None = Field(
        default=None,
        description="The routing key that they get. Default: the one that they came with.",
    )
    external: StrictBool = Field(
        default=False,
        description="Someone else declares it: bindings may name it, and it is never declared or"
        " deleted here.",
    )
