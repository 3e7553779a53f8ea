"""Compile the extra queues of a file to queues on the broker; arguments of limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from stem_amqp.errors import TopologyError
from stem_amqp.topology.entities import Queue
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.policies import filled
from stem_amqp.topology.spec.extra_queues import ExtraQueueSpec
from stem_amqp.topology.spec.mistake import dotted
from stem_amqp.topology.spec.policies import stream_age

UNLIMITED = 1_000_000
"""The delivery limit for "no limit": with -1, RabbitMQ 3.10 drops a message at once, and without the
argument RabbitMQ 4 uses 20."""


def extra_queues(topology: Topology, names: Names, taken: Collection[str]) -> Iterator[Queue]:
    """Yield the queues of ``extra_queues`` to declare.

    Args:
        topology: the topology.
        names: the names in the namespace.
        taken: names of stem-amqp's queues.

    Raises:
            TopologyError: an extra queue has one of these names.
    """
    for key, spec in topology.extra_queues.items():
        name = filled(key, names)
        if name in taken:
            raise TopologyError(
                f"in the namespace {names.namespace}, the queue name {name} is reserved for stem-amqp",
                key=dotted(("extra_queues", key)),
                remedy="Choose another name, such as {namespace}.audit-log.",
            )
        if not spec.external:
            yield Queue(name=name, arguments=_arguments(spec, names))


def _arguments(spec: ExtraQueueSpec, names: Names) -> dict[str, Any]:
    arguments: dict[str, Any] = {"x-queue-type": spec.type}
    arguments |= limits(spec.ttl, spec.max_length, spec.max_length_bytes)
    if spec.type == "stream":
        if spec.max_age is not None:
            arguments["x-max-age"] = stream_age(spec.max_age)
        if spec.max_segment_bytes is not None:
            arguments["x-stream-max-segment-size-bytes"] = spec.max_segment_bytes
        return arguments
    if spec.type == "quorum":
        arguments["x-delivery-limit"] = spec.delivery_limit or UNLIMITED
    if spec.priority is not None:
        arguments["x-max-priority"] = spec.priority
    if spec.single_active_consumer:
        arguments["x-single-active-consumer"] = True
    return arguments | _overflow(spec) | _dead_letters(spec, names)


def _overflow(spec: ExtraQueueSpec) -> dict[str, Any]:
    if is_limited(spec):
        return {"x-overflow": "reject-publish" if spec.overflow == "refuse" else "drop-head"}
    return {}


def _dead_letters(spec: ExtraQueueSpec, names: Names) -> dict[str, Any]:
    if spec.dead_letter_exchange is None:
        return {}
    arguments = {"x-dead-letter-exchange": filled(spec.dead_letter_exchange, names)}
    if spec.dead_letter_key is not None:
        arguments["x-dead-letter-routing-key"] = spec.dead_letter_key
    if spec.type == "quorum" and not (is_limited(spec) and spec.overflow == "drop-oldest"):
        # without a limit, reject-publish refuses nothing
        arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
    return arguments


def is_limited(spec: ExtraQueueSpec) -> bool:
    """Return whether a queue has a length limit."""
    return spec.max_length is not None or spec.max_length_bytes is not None


def limits(ttl: float | None, max_length: int | None, max_bytes: int | None) -> dict[str, Any]:
    """Return the arguments of the limits that are set.

    Args:
        ttl: the TTL of messages in seconds.
        max_length: the most messages.
        max_bytes: the most bytes of bodies.
    """
    found = {
        "x-message-ttl": None if ttl is None else round(ttl * 1000),
        "x-max-length": max_length,
        "x-max-length-bytes": max_bytes,
    }
    return {name: value for name, value in found.items() if value is not None}
