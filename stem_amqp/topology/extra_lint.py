"""What will be regretted about queues that hold no tasks."""

from __future__ import annotations

from collections.abc import Iterator

from stem_amqp.topology.caution import Caution
from stem_amqp.topology.extra_queues import is_limited
from stem_amqp.topology.mistake import dotted
from stem_amqp.topology.model import ExtraQueueSpec, Topology


def cautions(topology: Topology) -> Iterator[Caution]:
    """Yield what is probably not meant about ``extra_queues``."""
    for name, spec in topology.extra_queues.items():
        place = ("extra_queues", name)
        if spec.dead_letter_exchange is not None and spec.type == "classic":
            yield Caution(
                key=dotted((*place, "type")),
                problem="what a classic queue dead-letters can be lost on the way, without a word",
                remedy="Use quorum, which RabbitMQ dead-letters at-least-once.",
            )
        elif spec.dead_letter_exchange is not None and _drops(spec):
            yield Caution(
                key=dotted((*place, "overflow")),
                problem="what this queue dead-letters can be lost on the way, without a word:"
                " RabbitMQ does it at-least-once only where a full queue refuses",
                remedy="Write overflow: refuse, or remove the limit, or take the loss.",
            )
        if spec.overflow == "refuse" and is_limited(spec):
            yield from _refusing(topology, name)


def _drops(spec: ExtraQueueSpec) -> bool:
    return is_limited(spec) and spec.overflow == "drop-oldest"


def _refusing(topology: Topology, name: str) -> Iterator[Caution]:
    taps = [b for b in topology.bindings if b.to == "queue" and b.destination == name]
    if taps:
        yield Caution(
            key=dotted(("extra_queues", name, "overflow")),
            problem=f"once this queue is full, {taps[0].source} refuses every message of which it gets"
            " a copy, for all other queues too: producers get errors, and delays stand still",
            remedy="Use overflow: drop-oldest for taps, or a stream with max_age.",
        )
