"""Lint of extra queues, which hold no tasks."""

from __future__ import annotations

from collections.abc import Iterator

from stem_amqp.topology.extra_queues import is_limited
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.extra_queues import ExtraQueueSpec
from stem_amqp.topology.spec.mistake import dotted


def warnings(topology: Topology) -> Iterator[LintWarning]:
    """Yield the warnings about ``extra_queues``."""
    for name, spec in topology.extra_queues.items():
        place = ("extra_queues", name)
        if spec.dead_letter_exchange is not None and spec.type == "classic":
            yield LintWarning(
                key=dotted((*place, "type")),
                problem="messages that a classic queue dead-letters can silently be lost on the way",
                remedy="Use quorum, which RabbitMQ dead-letters at-least-once.",
            )
        elif spec.dead_letter_exchange is not None and _drops(spec):
            yield LintWarning(
                key=dotted((*place, "overflow")),
                problem="messages that this queue dead-letters can silently be lost on the way:"
                " RabbitMQ dead-letters at-least-once only with overflow: refuse",
                remedy="Write overflow: refuse, or remove the limit, or accept the loss.",
            )
        if spec.overflow == "refuse" and is_limited(spec):
            yield from _refusing(topology, name)


def _drops(spec: ExtraQueueSpec) -> bool:
    return is_limited(spec) and spec.overflow == "drop-oldest"


def _refusing(topology: Topology, name: str) -> Iterator[LintWarning]:
    taps = [b for b in topology.bindings if b.to == "queue" and b.destination == name]
    if taps:
        yield LintWarning(
            key=dotted(("extra_queues", name, "overflow")),
            problem=f"once this queue is full, {taps[0].source} refuses every message that it would get"
            " a copy of, also for all other queues: producers get errors and delays stop",
            remedy="Use overflow: drop-oldest for taps, or a stream with max_age.",
        )
