"""Checks of policies that RabbitMQ would refuse or that would lose messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.topology.check.queues import (
    LITERAL_NAMES,
    name_problem,
    own_exchanges,
    unknown_exchange,
)
from stem_amqp.topology.names import Names
from stem_amqp.topology.policies import fits
from stem_amqp.topology.spec.mistake import Mistake, Place
from stem_amqp.topology.spec.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.policies import PolicySpec

_EXCHANGE_KEYS = frozenset({"alternate-exchange"})
_BOTH = frozenset({"federation-upstream", "federation-upstream-set"})
_STREAM_KEYS = frozenset({"max-age", "stream-max-segment-size-bytes"})
_STREAMS = _STREAM_KEYS | {"max-length-bytes", "queue-leader-locator"}
_OPERATOR = frozenset(
    {
        "expires",
        "message-ttl",
        "max-length",
        "max-length-bytes",
        "delivery-limit",
        "overflow",
        "target-group-size",
        "delayed-retry-type",
        "delayed-retry-min",
        "delayed-retry-max",
    }
)
"""The keys that RabbitMQ accepts in an operator policy."""


def mistakes(topology: Content) -> list[Mistake]:
    """Return the mistakes in ``policies`` and ``operator_policies``."""
    found: list[Mistake] = []
    for name, spec in topology.policies.items():
        place = ("policies", name)
        found += [*_any(topology, place, name, spec), *_user(topology, place, spec)]
    for name, spec in topology.operator_policies.items():
        place = ("operator_policies", name)
        found += [*_any(topology, place, name, spec), *_operator(place, spec)]
    return found


def _any(topology: Content, place: Place, name: str, spec: PolicySpec) -> Iterator[Mistake]:
    problem = name_problem("policy", name)
    keys = set(spec.definition.keys())
    definition = (*place, "definition")
    if problem is not None:
        yield Mistake(place=place, problem=problem, remedy=LITERAL_NAMES)
    if not keys:
        yield Mistake(
            place=definition,
            problem="is empty, which RabbitMQ refuses",
            remedy="Write a key such as message-ttl: 1d, or remove the policy.",
        )
    for key in sorted(keys):
        if not _applies(key, spec.apply_to):
            yield Mistake(
                place=(*definition, key),
                problem=f"has no effect on {spec.apply_to.replace('_', ' ')}",
                remedy="Remove it, or change apply_to.",
            )
    yield from _retry_waits(definition, spec)
    yield from _exchanges(topology, definition, spec)


def _applies(key: str, apply_to: str) -> bool:
    if apply_to == "all" or key in _BOTH:
        return True
    if apply_to == "exchanges":
        return key in _EXCHANGE_KEYS
    if apply_to == "streams":
        return key in _STREAMS
    if apply_to in {"classic_queues", "quorum_queues"} and key in _STREAM_KEYS:
        return False
    if apply_to == "classic_queues" and key.startswith(("delayed-retry", "delivery-limit")):
        return False
    return key not in _EXCHANGE_KEYS


def _retry_waits(place: Place, spec: PolicySpec) -> Iterator[Mistake]:
    wanted = spec.definition
    least, most = wanted.delayed_retry_min, wanted.delayed_retry_max
    if wanted.delayed_retry_type not in {None, "disabled"} and least is None:
        yield Mistake(
            place=(*place, "delayed-retry-type"),
            problem="requires delayed-retry-min; RabbitMQ refuses the policy without it",
            remedy="Add delayed-retry-min: 5s.",
        )
    if least is not None and most is not None and most < least:
        yield Mistake(
            place=(*place, "delayed-retry-max"),
            problem="is shorter than delayed-retry-min, which RabbitMQ refuses",
            remedy="min is the first wait and max the longest wait.",
        )


def _exchanges(topology: Content, place: Place, spec: PolicySpec) -> Iterator[Mistake]:
    known = (*topology.exchanges, *own_exchanges())
    for key in ("dead-letter-exchange", "alternate-exchange"):
        exchange = getattr(spec.definition, key.replace("-", "_"))
        if exchange is not None and exchange not in known:
            yield unknown_exchange((*place, key), exchange, known)
    target = spec.definition.dead_letter_exchange or ""
    if target in {Names(NAMESPACE).deliver, *_delays()} and _any_work(topology, spec):
        yield Mistake(
            place=(*place, "dead-letter-exchange"),
            problem="work queues would dead-letter into the delays: RabbitMQ drops, or holds for ever,"
            " messages that return through a TTL without having been rejected",
            remedy="Remove it: a work queue dead-letters to its own dead-letter queue, and workers"
            " publish the retries.",
        )


def _delays() -> Iterator[str]:
    return (name for name in own_exchanges() if name.startswith(f"{Names(NAMESPACE).delay}."))


def _any_work(topology: Content, spec: PolicySpec) -> bool:
    return next(_work_queues(topology, spec), None) is not None


def _work_queues(topology: Content, spec: PolicySpec) -> Iterator[str]:
    """Yield the names of the work and dead-letter queues that a policy matches."""
    names = Names(topology.namespace or "stem")
    for queue in topology.queues:
        for name in (names.work(queue), names.dlq(queue)):
            if fits(spec, name, names, topology.queue(queue).type):
                yield name


def _user(topology: Content, place: Place, spec: PolicySpec) -> Iterator[Mistake]:
    if topology.settings != "policies":
        return
    matched = next(_work_queues(topology, spec), None)
    if matched is not None:
        yield Mistake(
            place=(*place, "pattern"),
            problem=f"matches {matched}, which has a policy of stem-amqp; RabbitMQ applies only one of"
            " them, so that the queue would lose its dead-lettering or its limits",
            remedy="Narrow the pattern; put the queue's settings under queues.",
        )


def _operator(place: Place, spec: PolicySpec) -> Iterator[Mistake]:
    if spec.apply_to in {"exchanges", "all"}:
        yield Mistake(
            place=(*place, "apply_to"),
            problem="an operator policy applies to queues only",
            remedy="Write queues, classic_queues, quorum_queues or streams.",
        )
    for key in sorted(set(spec.definition.keys()) - _OPERATOR):
        yield Mistake(
            place=(*place, "definition", key),
            problem="RabbitMQ does not accept this key in an operator policy",
            remedy=f"It accepts {', '.join(sorted(_OPERATOR))}. Put others under policies.",
        )
