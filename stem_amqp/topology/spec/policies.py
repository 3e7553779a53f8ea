"""RabbitMQ policies in a topology file, with RabbitMQ's keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field, StrictStr

from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.values import (
    Bytes,
    Deliveries,
    Length,
    Members,
    PolicyPriority,
    Regex,
    Ttl,
)


def _key(name: str) -> str:
    return name.replace("_", "-")


class PolicyDefinition(Spec):
    """The settings of a policy. Times are written 30s or 14d; ``null`` means not set."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=_key)

    message_ttl: Ttl | None = Field(
        default=None, description="Messages that wait longer are dropped or dead-lettered."
    )
    expires: Ttl | None = Field(
        default=None,
        description="A queue that is unused for this time is deleted with its messages.",
    )
    max_length: Length | None = Field(default=None, description="The most messages.")
    max_length_bytes: Bytes | None = Field(default=None, description="The most bytes of bodies.")
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] | None = Field(
        default=None, description="The behaviour at a limit; reject-publish-dlx: classic only."
    )
    delivery_limit: Deliveries | None = Field(
        default=None, description="Returns before a message is dead-lettered. Quorum only."
    )
    dead_letter_exchange: StrictStr | None = Field(
        default=None, description="The exchange for dead letters; {namespace} is replaced."
    )
    dead_letter_routing_key: StrictStr | None = Field(
        default=None, description="The routing key of dead letters."
    )
    dead_letter_strategy: Literal["at-most-once", "at-least-once"] | None = Field(
        default=None,
        description="at-least-once needs overflow: reject-publish and a quorum queue.",
    )
    consumer_timeout: Ttl | None = Field(
        default=None, description="How long a delivery may stay unsettled."
    )
    queue_leader_locator: Literal["client-local", "balanced"] | None = Field(
        default=None, description="The node of a new queue's leader."
    )
    target_group_size: Members | None = Field(
        default=None, description="The number of members to which a quorum queue grows."
    )
    delayed_retry_type: Literal["disabled", "all", "failed", "returned"] | None = Field(
        default=None, description="Which returned messages wait in a quorum queue."
    )
    delayed_retry_min: Ttl | None = Field(default=None, description="The first such wait.")
    delayed_retry_max: Ttl | None = Field(default=None, description="The longest such wait.")
    max_age: Ttl | None = Field(
        default=None, description="Streams only: older messages are dropped."
    )
    stream_max_segment_size_bytes: Bytes | None = Field(
        default=None, description="Streams only: bytes of a segment."
    )
    alternate_exchange: StrictStr | None = Field(
        default=None, description="Exchanges only: the exchange for unroutable messages."
    )
    federation_upstream: StrictStr | None = Field(
        default=None, description="The federation plugin's upstream, by its name."
    )
    federation_upstream_set: StrictStr | None = Field(
        default=None, description="The federation plugin's set of upstreams, by its name."
    )

    def keys(self) -> Iterator[str]:
        """Yield the keys that are set, with RabbitMQ's names."""
        return (_key(name) for name in type(self).model_fields if getattr(self, name) is not None)

    def values(self) -> dict[str, Any]:
        """Return the definition for RabbitMQ: milliseconds, numbers and strings by RabbitMQ's keys."""
        return {key: self._value(key) for key in self.keys()}

    def _value(self, key: str) -> Any:
        value = getattr(self, key.replace("-", "_"))
        if key == "max-age":
            return stream_age(value)
        return round(value * 1000) if isinstance(value, float) else value


def stream_age(age: float) -> str:
    """Format an age in seconds as RabbitMQ expects it of a stream: whole seconds, at least one."""
    return f"{max(1, round(age))}s"


class PolicySpec(Spec):
    """A policy: settings for entities with a matching name, which can be changed at run time."""

    pattern: Regex = Field(
        description="The regular expression that names must match, in single quotes:"
        r" '^{namespace}\.orders$'. {namespace} is replaced, with its dots escaped.",
    )
    apply_to: Literal[
        "queues", "exchanges", "all", "classic_queues", "quorum_queues", "streams"
    ] = Field(
        default="queues",
        description="The kind of entity; classic_queues, quorum_queues and streams from RabbitMQ 3.12.",
    )
    definition: PolicyDefinition = Field(description="The settings, by RabbitMQ's keys.")
    priority: PolicyPriority = Field(
        default=0,
        description="Of the policies that match a name, RabbitMQ applies only the one with the"
        " highest priority.",
    )
