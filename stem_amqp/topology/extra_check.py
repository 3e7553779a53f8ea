"""What cannot be right about the queues that hold no tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.topology.check import (
    AS_THEY_ARE,
    is_own,
    name_problem,
    own_exchanges,
    unknown_exchange,
)
from stem_amqp.topology.extra_spec import KEYS
from stem_amqp.topology.mistake import Mistake, Place
from stem_amqp.topology.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.extra_spec import ExtraQueueSpec
    from stem_amqp.topology.model import Topology


def mistakes(topology: Topology) -> list[Mistake]:
    """Return what does not fit together in ``extra_queues``."""
    found: list[Mistake] = []
    for name, spec in topology.extra_queues.items():
        place = ("extra_queues", name)
        found += _name(topology, place, name, spec)
        found += _settings(place, spec)
        found += _dead_letters(topology, place, spec)
    return found


def _name(topology: Topology, place: Place, name: str, spec: ExtraQueueSpec) -> Iterator[Mistake]:
    problem = name_problem("queue", name)
    namespace = topology.namespace or "stem"
    if problem is not None:
        yield Mistake(place=place, problem=problem, remedy=AS_THEY_ARE)
    elif name.startswith("amq."):
        yield Mistake(
            place=place,
            problem="names that begin with amq. are RabbitMQ's own",
            remedy="Choose another one.",
        )
    elif name in topology.queues:
        yield Mistake(
            place=place,
            problem="a logical queue has the same name, so that bindings could mean either",
            remedy='Choose another one, such as "{namespace}.audit-log".',
        )
    elif is_own(name, namespace) or any(
        name in {f"{prefix}.{queue}" for queue in topology.queues}
        for prefix in (NAMESPACE, namespace)
    ):
        yield Mistake(
            place=place,
            problem=f"the queue name {name} is taken by stem-amqp itself",
            remedy='Choose another one, such as "{namespace}.audit-log".',
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
        # what says nothing does no harm
        if getattr(spec, key):
            yield Mistake(
                place=(*place, key),
                problem=f"a {spec.type} queue has no such setting"
                if spec.type != "stream"
                else "a stream has no such setting",
                remedy=f"Remove it, or change the type. type: {spec.type} takes"
                f" {', '.join(sorted(allowed))}.",
            )


def _dead_letters(topology: Topology, place: Place, spec: ExtraQueueSpec) -> Iterator[Mistake]:
    exchange = spec.dead_letter_exchange
    known = (*topology.exchanges, *own_exchanges())
    if exchange is not None and exchange not in known:
        yield unknown_exchange((*place, "dead_letter_exchange"), exchange, known)
    if spec.dead_letter_key is not None and exchange is None:
        yield Mistake(
            place=(*place, "dead_letter_key"),
            problem="there is no dead_letter_exchange, so nothing gets this key",
            remedy="Add dead_letter_exchange, or remove it.",
        )
