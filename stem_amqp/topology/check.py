"""What the keys of a topology say about each other: names that must exist, pairs that must fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from stem_amqp.delay import LEVELS
from stem_amqp.durations import format_seconds
from stem_amqp.topology.mistake import Mistake, Place, did_you_mean, shown
from stem_amqp.topology.names import Names, collides
from stem_amqp.topology.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.model import Topology
    from stem_amqp.topology.specs import (
        BackoffSpec,
        BindingSpec,
        ExchangeSpec,
        QueueSpec,
        RetrySpec,
    )

__all__ = [
    "AS_THEY_ARE",
    "NAMESPACE",
    "NAME_BYTES",
    "is_own",
    "mistakes",
    "name_problem",
    "own_exchanges",
    "unknown_exchange",
]

AS_THEY_ARE = "Such names are taken as they are, except that {namespace} is replaced."
NAME_BYTES = 127
"""Of a name: with the namespace in it, it must end before RabbitMQ's 255."""


def mistakes(topology: Topology) -> list[Mistake]:
    """Return what does not fit together."""
    return [
        *_retries(topology),
        *_delivery_limits(topology),
        *_native_retries(topology),
        *_of_quorum_queues(topology),
        *_exchanges(topology),
        *_bindings(topology),
    ]


def own_exchanges() -> tuple[str, ...]:
    """Return the names of our own exchanges as a file writes them, with ``{namespace}``."""
    names = Names(NAMESPACE)
    delays = (names.delay_exchange(level) for level in range(LEVELS))
    return (
        names.tasks,
        names.dead,
        names.deliver,
        names.unroutable,
        names.control,
        names.events,
        *delays,
    )


def _specs(topology: Topology) -> Iterator[tuple[Place, QueueSpec, QueueSpec]]:
    """Go through what stands in the file: its place, what it says itself, and with what it inherits."""
    yield ("defaults",), topology.defaults, topology.queue("")
    for name, own in topology.queues.items():
        yield ("queues", name), own, topology.queue(name)


def _retries(topology: Topology) -> Iterator[Mistake]:
    for place, own, merged in _specs(topology):
        if isinstance(own.retry, str):
            yield from _named(topology, (*place, "retry"), own.retry)
        else:
            yield from _own_backoff((*place, "retry"), own.retry, merged.retry_spec)
    for name, own_retry in topology.retries.items():
        yield from _own_backoff(("retries", name), own_retry, topology.retry(name))


def _named(topology: Topology, place: Place, name: str) -> Iterator[Mistake]:
    if name not in topology.retries:
        yield Mistake(
            place=place,
            problem=f"there is no retry policy {shown(name)}{did_you_mean(name, topology.retries)}",
            remedy="Name it under retries, or write its keys here: {max_retries: 5}.",
        )


def _own_backoff(
    place: Place, own: RetrySpec | None, merged: RetrySpec | None
) -> Iterator[Mistake]:
    # an inherited backoff is judged where it stands
    if own is not None and merged is not None and "backoff" in own.model_fields_set:
        yield from _backoff((*place, "backoff"), merged.backoff)


def _backoff(place: Place, backoff: BackoffSpec) -> Iterator[Mistake]:
    if backoff.max < backoff.base:
        yield Mistake(
            place=place,
            problem=f"max ({format_seconds(backoff.max)}) is shorter than base"
            f" ({format_seconds(backoff.base)})",
            remedy="max is the longest wait and base the first one; what is not written here is"
            " inherited.",
        )


def _delivery_limits(topology: Topology) -> Iterator[Mistake]:
    for name, own in topology.queues.items():
        if topology.queue(name).type == "classic" and "delivery_limit" in own.model_fields_set:
            yield Mistake(
                place=("queues", name, "delivery_limit"),
                problem="a classic queue counts no deliveries",
                remedy="Remove it, or make the queue a quorum queue.",
            )


def _native_retries(topology: Topology) -> Iterator[Mistake]:
    for place, own, merged in _specs(topology):
        native = merged.native_retry
        if native is None:
            continue
        here = "native_retry" in own.model_fields_set
        if here and native.max is not None and native.max < native.min:
            yield Mistake(
                place=(*place, "native_retry"),
                problem=f"max ({format_seconds(native.max)}) is shorter than min"
                f" ({format_seconds(native.min)})",
                remedy="min is the first wait and the step, max the longest wait.",
            )
        # a named policy may be for other queues, too
        in_place = None if isinstance(own.retry, str) else own.retry
        if in_place is not None and "backoff" in in_place.model_fields_set:
            yield Mistake(
                place=(*place, "retry", "backoff"),
                problem="has no effect beside native_retry, which has its own curve",
                remedy="Remove it, or write native_retry: null for the delay queues.",
            )


_QUORUM_ONLY = {
    "native_retry": "a classic queue delays no retries",
    "strict_priority": "a classic queue has priorities by the key priority, on every release",
    "consumer_timeout": "a classic queue has no timeout from RabbitMQ 4.3 on",
}


def _of_quorum_queues(topology: Topology) -> Iterator[Mistake]:
    for place, own, merged in _specs(topology):
        for key, why in _QUORUM_ONLY.items():
            said = {key, "type"} & own.model_fields_set
            if merged.type == "classic" and said and getattr(merged, key):
                yield Mistake(
                    place=(*place, key if key in own.model_fields_set else "type"),
                    problem=f"{key}: {why}",
                    remedy=f"Remove {key}, or make the queue a quorum queue.",
                )


def _exchanges(topology: Topology) -> Iterator[Mistake]:
    for name, spec in topology.exchanges.items():
        place = ("exchanges", name)
        problem = name_problem("exchange", name)
        if problem is not None:
            yield Mistake(place=place, problem=problem, remedy=AS_THEY_ARE)
        elif is_own(name, topology.namespace or "stem"):
            yield Mistake(
                place=place,
                problem=f"the exchange name {name} is taken by stem-amqp itself",
                remedy="Choose another one, such as {namespace}.audit; bindings may name our own"
                " exchanges without declaring them here.",
            )
        elif name.startswith("amq.") and not spec.external:
            yield Mistake(
                place=place,
                problem="names that begin with amq. are RabbitMQ's own",
                remedy="Choose another one, or write external: true to use RabbitMQ's.",
            )
        yield from _exchange_type(place, spec)


def _exchange_type(place: Place, spec: ExchangeSpec) -> Iterator[Mistake]:
    if not spec.external and spec.type is None:
        yield Mistake(
            place=(*place, "type"),
            problem="is missing",
            remedy="Write topic, direct, fanout or headers, or another kind; or external: true if someone else"
            " declares the exchange.",
        )
    for key in ("type", "arguments", "internal"):
        if spec.external and getattr(spec, key):
            yield Mistake(
                place=(*place, key),
                problem="an external exchange is declared elsewhere, so this has no effect",
                remedy="Remove it, or remove external: true.",
            )


def name_problem(kind: str, name: str) -> str | None:
    """Return what is wrong with a name on the broker, ``{namespace}`` in it, if anything is."""
    if not name or name != name.strip() or not name.isprintable():
        return f"{shown(name)} is no {kind} name"
    if len(name.encode()) > NAME_BYTES:
        return f"the {kind} name is longer than {NAME_BYTES} bytes"
    if re.search(r"[{}]", name.replace(NAMESPACE, "")):
        return f"{shown(name)} has braces around something else than namespace"
    return None


def is_own(name: str, namespace: str) -> bool:
    """Say whether a name on the broker is kept for stem-amqp in a namespace."""
    return any(
        name.startswith(prefix + ".") and collides(name.removeprefix(prefix + "."))
        for prefix in (NAMESPACE, namespace)
    )


def _bindings(topology: Topology) -> Iterator[Mistake]:
    exchanges = (*topology.exchanges, *own_exchanges())
    for index, binding in enumerate(topology.bindings):
        place = ("bindings", index)
        if binding.source not in exchanges:
            yield unknown_exchange((*place, "source"), binding.source, exchanges)
        if binding.to == "exchange" and binding.destination not in exchanges:
            yield unknown_exchange((*place, "destination"), binding.destination, exchanges)
        if binding.to == "queue":
            yield from _bound_queue(topology, (*place, "destination"), binding)


def unknown_exchange(place: Place, name: str, exchanges: Iterable[str]) -> Mistake:
    """Return the mistake of naming an exchange that is not there."""
    return Mistake(
        place=place,
        problem=f"there is no exchange {shown(name)} here{did_you_mean(name, exchanges)}",
        remedy="Name it under exchanges, with external: true if someone else declares it; our own"
        ' are written as "{namespace}.tasks".',
    )


def _bound_queue(topology: Topology, place: Place, binding: BindingSpec) -> Iterator[Mistake]:
    queue = binding.destination
    if queue in topology.extra_queues:
        return
    if queue not in topology.queues:
        known = (*topology.queues, *topology.extra_queues)
        yield Mistake(
            place=place,
            problem=f"there is no queue {shown(queue)} here{did_you_mean(queue, known)}",
            remedy="Name it under queues (a destination is a logical queue, without the"
            " namespace) or under extra_queues (with its full name), or write to: exchange.",
        )
    elif binding.source == Names(NAMESPACE).dead:
        yield Mistake(
            place=place,
            problem=f"dead letters would come back into the work queue {queue} for ever",
            remedy="Replay them with stem-amqp, which counts and can stop; or bind another"
            " exchange, or one of extra_queues, to look at them.",
        )
