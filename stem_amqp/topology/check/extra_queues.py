"""Checks of extra queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.topology.check.queues import (
    LITERAL_NAMES,
    is_own,
    name_problem,
    own_exchanges,
    unknown_exchange,
)
from stem_amqp.topology.spec.extra_queues import KEYS
from stem_amqp.topology.spec.mistake import Mistake, Place
from stem_amqp.topology.spec.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.extra_queues import ExtraQueueSpec


def mistakes(topology: Content) -> list[Mistake]:
    """Return the mistakes in ``extra_queues``."""
    found: list[Mistake] = []
    for name, spec in topology.extra_queues.items():
        place = ("extra_queues", name)
        found += _name(topology, place, name, spec)
        found += _settings(place, spec)
        found += _dead_letters(topology, place, spec)
    return found


def _name(topology: Content, place: Place, name: str, spec: ExtraQueueSpec) -> Iterator[Mistake]:
    problem = name_problem("queue", name)
    namespace = topology.namespace or "stem"
    if problem is not None:
        yield Mistake(place=place, problem=problem, remedy=LITERAL_NAMES)
    elif name.startswith("amq."):
        yield Mistake(
            place=place,
            problem="names that begin with amq. are reserved for RabbitMQ",
            remedy="Choose another name.",
        )
    elif name in topology.queues:
        yield Mistake(
            place=place,
            problem="a logical queue has the same name, so that bindings would be ambiguous",
            remedy='Choose another name, such as "{namespace}.audit-log".',
        )
    elif is_own(name, namespace) or any(
        name in {f"{prefix}.{queue}" for queue in topology.queues}
        for prefix in (NAMESPACE, namespace)
    ):
        yield Mistake(
            place=place,
            problem=f"the queue name {name} is reserved for stem-amqp",
            remedy='Choose another name, such as "{namespace}.audit-log".',
        )
    if spec.external and spec.model_fields_set - {"external"}:
        yield Mistake(
            place=place,
            problem="an external queue is declared elsewhere, so its other keys have no effect",
            remedy="Remove them, or remove external: true.",
        )


def _settings(place: Place, spec: ExtraQueueSpec) -> Iterator[Mistake]:
    allowed = KEYS[spec.type]
    for key in sorted(spec.model_fields_set - allowed - {"type", "external"}):
        # an empty value is harmless
        if getattr(spec, key):
            yield Mistake(
                place=(*place, key),
                problem=f"a {spec.type} queue does not have this setting"
                if spec.type != "stream"
                else "a stream does not have this setting",
                remedy=f"Remove it, or change the type. type: {spec.type} allows"
                f" {', '.join(sorted(allowed))}.",
            )


def _dead_letters(topology: Content, place: Place, spec: ExtraQueueSpec) -> Iterator[Mistake]:
    exchange = spec.dead_letter_exchange
    known = (*topology.exchanges, *own_exchanges())
    if exchange is not None and exchange not in known:
        yield unknown_exchange((*place, "dead_letter_exchange"), exchange, known)
    if spec.dead_letter_key is not None and exchange is None:
        yield Mistake(
            place=(*place, "dead_letter_key"),
            problem="it has no effect without dead_letter_exchange",
            remedy="Add dead_letter_exchange, or remove it.",
        )
