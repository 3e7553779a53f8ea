"""Sections of a topology file: custom exchanges and bindings, and routes of tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, StrictBool, StrictStr

from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.values import ExchangeKind, LogicalName, Pattern


class ExchangeSpec(Spec):
    """A custom exchange, in addition to those of stem-amqp."""

    type: ExchangeKind | None = Field(
        default=None,
        description="topic, direct, fanout or headers; or a type for which the broker needs a"
        " plugin or a certain release, such as x-consistent-hash. Not for an external one.",
    )
    internal: StrictBool = Field(
        default=False,
        description="Clients cannot publish to it; it receives messages only from other exchanges.",
    )
    arguments: dict[str, JsonValue] = Field(
        default={},
        description="Arguments such as alternate-exchange; {namespace} is replaced in strings.",
    )
    external: StrictBool = Field(
        default=False,
        description="It is declared elsewhere: bindings may name it, and stem-amqp never declares or"
        " deletes it.",
    )


class BindingSpec(Spec):
    """A custom binding, in addition to those of stem-amqp."""

    source: StrictStr = Field(
        description='The exchange: one of exchanges, or one of stem-amqp, such as "{namespace}.tasks".'
    )
    destination: StrictStr = Field(
        description="A logical queue of queues, or a queue of extra_queues by its full name; with"
        " to: exchange, an exchange."
    )
    key: StrictStr = Field(
        default="", description='Routing key or topic pattern; quote it: "#", "*.created".'
    )
    to: Literal["queue", "exchange"] = Field(
        default="queue", description="The kind of the destination."
    )
    arguments: dict[str, JsonValue] = Field(
        default={}, description="Arguments such as x-match, for a headers exchange."
    )


class RouteSpec(Spec):
    """Selects the queue of tasks that name none, by the task's name."""

    match: Pattern = Field(
        description="A task's name or a pattern: * matches any text, dots included, ? any character."
    )
    queue: LogicalName = Field(description="The logical queue.")
