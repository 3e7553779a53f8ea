"""Checks across keys: names that must exist, and settings that must be consistent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from stem_amqp.delay import LEVELS
from stem_amqp.durations import format_seconds
from stem_amqp.topology.names import Names, collides
from stem_amqp.topology.spec.mistake import Mistake, Place, did_you_mean, shown
from stem_amqp.topology.spec.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.queues import BackoffSpec, QueueSpec, RetrySpec
    from stem_amqp.topology.spec.routing import BindingSpec, ExchangeSpec

__all__ = [
    "LITERAL_NAMES",
    "NAMESPACE",
    "NAME_BYTES",
    "is_own",
    "mistakes",
    "name_problem",
    "own_exchanges",
    "unknown_exchange",
]

LITERAL_NAMES = "Such names are used literally, except that {namespace} is replaced."
NAME_BYTES = 127
"""The longest name in bytes: with the namespace, it must not exceed RabbitMQ's 255."""


def mistakes(topology: Content) -> list[Mistake]:
    """Return the mistakes in queues, retries, exchanges and bindings."""
    return [
        *_retries(topology),
        *_delivery_limits(topology),
        *_native_retries(topology),
        *_of_quorum_queues(topology),
        *_exchanges(topology),
        *_bindings(topology),
    ]


def own_exchanges() -> tuple[str, ...]:
    """Return the names of stem-amqp's exchanges as written in a file, with ``{namespace}``."""
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


def _specs(topology: Content) -> Iterator[tuple[Place, QueueSpec, QueueSpec]]:
    """Yield each queue section: its place, its own keys, and its keys with the inherited ones."""
    yield ("defaults",), topology.defaults, topology.queue("")
    for name, own in topology.queues.items():
        yield ("queues", name), own, topology.queue(name)


def _retries(topology: Content) -> Iterator[Mistake]:
    for place, own, merged in _specs(topology):
        if isinstance(own.retry, str):
            yield from _named(topology, (*place, "retry"), own.retry)
        else:
            yield from _own_backoff((*place, "retry"), own.retry, merged.retry_spec)
    for name, own_retry in topology.retries.items():
        yield from _own_backoff(("retries", name), own_retry, topology.retry(name))


def _named(topology: Content, place: Place, name: str) -> Iterator[Mistake]:
    if name not in topology.retries:
        yield Mistake(
            place=place,
            problem=f"there is no retry policy {shown(name)}{did_you_mean(name, topology.retries)}",
            remedy="Add it under retries, or write its keys here: {max_retries: 5}.",
        )


def _own_backoff(
    place: Place, own: RetrySpec | None, merged: RetrySpec | None
) -> Iterator[Mistake]:
    # an inherited backoff is checked where it is written
    if own is not None and merged is not None and "backoff" in own.model_fields_set:
        yield from _backoff((*place, "backoff"), merged.backoff)


def _backoff(place: Place, backoff: BackoffSpec) -> Iterator[Mistake]:
    if backoff.max < backoff.base:
        yield Mistake(
            place=place,
            problem=f"max ({format_seconds(backoff.max)}) is shorter than base"
            f" ({format_seconds(backoff.base)})",
            remedy="max is the longest wait and base the first one; keys that are not set here are"
            " inherited.",
        )


def _delivery_limits(topology: Content) -> Iterator[Mistake]:
    for name, own in topology.queues.items():
        if topology.queue(name).type == "classic" and "delivery_limit" in own.model_fields_set:
            yield Mistake(
                place=("queues", name, "delivery_limit"),
                problem="a classic queue does not count deliveries",
                remedy="Remove it, or make the queue a quorum queue.",
            )


def _native_retries(topology: Content) -> Iterator[Mistake]:
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
                remedy="min is the first wait and the increment, max the longest wait.",
            )
        # a named policy may also be used by other queues
        in_place = None if isinstance(own.retry, str) else own.retry
        if in_place is not None and "backoff" in in_place.model_fields_set:
            yield Mistake(
                place=(*place, "retry", "backoff"),
                problem="has no effect together with native_retry, which defines its own waits",
                remedy="Remove it, or write native_retry: null for the delay queues.",
            )


_QUORUM_ONLY = {
    "native_retry": "a classic queue cannot delay retries",
    "strict_priority": "a classic queue has priorities through the key priority, on every release",
    "consumer_timeout": "a classic queue has no timeout from RabbitMQ 4.3 on",
}


def _of_quorum_queues(topology: Content) -> Iterator[Mistake]:
    for place, own, merged in _specs(topology):
        for key, why in _QUORUM_ONLY.items():
            said = {key, "type"} & own.model_fields_set
            if merged.type == "classic" and said and getattr(merged, key):
                yield Mistake(
                    place=(*place, key if key in own.model_fields_set else "type"),
                    problem=f"{key}: {why}",
                    remedy=f"Remove {key}, or make the queue a quorum queue.",
                )


def _exchanges(topology: Content) -> Iterator[Mistake]:
    for name, spec in topology.exchanges.items():
        place = ("exchanges", name)
        problem = name_problem("exchange", name)
        if problem is not None:
            yield Mistake(place=place, problem=problem, remedy=LITERAL_NAMES)
        elif is_own(name, topology.namespace or "stem"):
            yield Mistake(
                place=place,
                problem=f"the exchange name {name} is reserved for stem-amqp",
                remedy="Choose another name, such as {namespace}.audit; bindings may use stem-amqp's"
                " exchanges without declaring them here.",
            )
        elif name.startswith("amq.") and not spec.external:
            yield Mistake(
                place=place,
                problem="names that begin with amq. are reserved for RabbitMQ",
                remedy="Choose another name, or write external: true to use RabbitMQ's exchange.",
            )
        yield from _exchange_type(place, spec)


def _exchange_type(place: Place, spec: ExchangeSpec) -> Iterator[Mistake]:
    if not spec.external and spec.type is None:
        yield Mistake(
            place=(*place, "type"),
            problem="is missing",
            remedy="Write topic, direct, fanout, headers or another type; or external: true if the"
            " exchange is declared elsewhere.",
        )
    for key in ("type", "arguments", "internal"):
        if spec.external and getattr(spec, key):
            yield Mistake(
                place=(*place, key),
                problem="an external exchange is declared elsewhere, so this has no effect",
                remedy="Remove it, or remove external: true.",
            )


def name_problem(kind: str, name: str) -> str | None:
    """Return the problem with a name on the broker, which may contain ``{namespace}``, or None."""
    if not name or name != name.strip() or not name.isprintable():
        return f"{shown(name)} is not a valid {kind} name"
    if len(name.encode()) > NAME_BYTES:
        return f"the {kind} name is longer than {NAME_BYTES} bytes"
    if re.search(r"[{}]", name.replace(NAMESPACE, "")):
        return f"{shown(name)} contains braces other than {{namespace}}"
    return None


def is_own(name: str, namespace: str) -> bool:
    """Return whether a name on the broker is reserved for stem-amqp in a namespace."""
    return any(
        name.startswith(prefix + ".") and collides(name.removeprefix(prefix + "."))
        for prefix in (NAMESPACE, namespace)
    )


def _bindings(topology: Content) -> Iterator[Mistake]:
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
    """Return the mistake of naming an unknown exchange."""
    return Mistake(
        place=place,
        problem=f"there is no exchange {shown(name)} here{did_you_mean(name, exchanges)}",
        remedy="Add it under exchanges, with external: true if it is declared elsewhere; stem-amqp's"
        ' exchanges are written as "{namespace}.tasks".',
    )


def _bound_queue(topology: Content, place: Place, binding: BindingSpec) -> Iterator[Mistake]:
    queue = binding.destination
    if queue in topology.extra_queues:
        return
    if queue not in topology.queues:
        known = (*topology.queues, *topology.extra_queues)
        yield Mistake(
            place=place,
            problem=f"there is no queue {shown(queue)} here{did_you_mean(queue, known)}",
            remedy="Add it under queues (a destination is a logical queue, without the"
            " namespace) or under extra_queues (with its full name), or write to: exchange.",
        )
    elif binding.source == Names(NAMESPACE).dead:
        yield Mistake(
            place=place,
            problem=f"dead letters would return to the work queue {queue} for ever",
            remedy="Replay them with stem-amqp, which counts replays and can stop; or bind another"
            " exchange, or one of extra_queues, to observe them.",
        )
