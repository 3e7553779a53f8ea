"""From the topology to exchanges, queues and bindings. The same input gives the same output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stem_amqp.delay import LEVELS, binding_key, delivery_key, ttl_ms
from stem_amqp.errors import TopologyError
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.extra_queues import UNLIMITED, extra_queues, limits
from stem_amqp.topology.mistake import dotted, queue_name_mistake
from stem_amqp.topology.model import QueueSpec, Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.policies import filled, refuse_clashes, split, written
from stem_amqp.topology.values import NAMESPACE

_AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
"""With any other overflow, RabbitMQ silently falls back to at-most-once."""


def compile_topology(topology: Topology, names: Names, queues: Iterable[str] = ()) -> Entities:
    """Return everything that a topology needs on the broker.

    Args:
        topology: the topology.
        names: the names in the namespace.
        queues: logical queues to have beside those of the topology, such as those that tasks name.

    Returns:
        What to declare, in an order that can be declared: a work queue gets tasks only once
        everything behind it stands.

    Raises:
        TopologyError: one of the queues cannot have its name, or an exchange has one of ours.
    """
    logical = sorted({*topology.declared, *queues})
    for name in logical:
        mistake = queue_name_mistake(name, ("queues", name))
        if mistake is not None:
            raise TopologyError(mistake.problem, key=dotted(mistake.place), remedy=mistake.remedy)
    work = {name: names.work(name, topology.queue(name).version) for name in logical}
    dead = {name: names.dlq(name, topology.queue(name).dead_letter.version) for name in logical}
    delays = tuple(_delay_queues(names))
    declared, generated = _settled(topology, names, logical, delays)
    return Entities(
        exchanges=(*_exchanges(names), *_extra_exchanges(topology, names)),
        queues=(*declared, *delays),
        bindings=(
            Binding(source=names.unroutable, destination=names.unroutable),
            *(Binding(source=names.dead, destination=dead[q], key=q) for q in logical),
            *_delay_bindings(names),
            *(
                Binding(source=names.deliver, destination=work[q], key=delivery_key(q))
                for q in logical
            ),
            *_extra_bindings(topology, names),
            *(Binding(source=names.tasks, destination=work[q], key=q) for q in logical),
        ),
        policies=(*generated, *written(topology, names)),
    )


def _settled(
    topology: Topology, names: Names, logical: Iterable[str], delays: Iterable[Queue]
) -> tuple[tuple[Queue, ...], tuple[Policy, ...]]:
    """Return the queues that are no delays, and the policies that hold their settings."""
    own = [
        *(_dlq(names, name, topology.queue(name)) for name in logical),
        *(_work_queue(names, name, topology.queue(name)) for name in logical),
    ]
    unroutable = _unroutable_queue(names)
    taken = {queue.name for queue in (unroutable, *own, *delays)}
    extra = list(extra_queues(topology, names, taken))
    if topology.settings == "arguments":
        return (unroutable, *extra, *own), ()
    # what never changes about our own parking stays with the queue, as with the delays
    parts = [split(queue) for queue in (*extra, *own)]
    generated = tuple(policy for _, policy in parts if policy is not None)
    kinds = {queue.name: str(queue.arguments["x-queue-type"]) for queue, _ in parts}
    refuse_clashes(topology, names, generated, kinds)
    return (unroutable, *(queue for queue, _ in parts)), generated


def _exchanges(names: Names) -> tuple[Exchange, ...]:
    parked = {"alternate-exchange": names.unroutable}
    return (
        # without an alternate: an unknown queue must come back to the producer as an error
        Exchange(name=names.tasks, type="topic"),
        Exchange(name=names.dead, type="direct", arguments=parked),
        *(Exchange(name=names.delay_exchange(level), type="topic") for level in range(LEVELS)),
        Exchange(name=names.deliver, type="topic", arguments=parked),
        Exchange(name=names.unroutable, type="fanout"),
        Exchange(name=names.control, type="fanout"),
        Exchange(name=names.events, type="topic"),
    )


def _work_queue(names: Names, logical: str, spec: QueueSpec) -> Queue:
    arguments: dict[str, Any] = {
        "x-queue-type": spec.type,
        "x-dead-letter-exchange": names.dead,
        "x-dead-letter-routing-key": logical,
        # unless asked for, a full queue never dead-letters its oldest instead of refusing
        "x-overflow": "reject-publish" if spec.overflow == "refuse" else "drop-head",
    }
    if spec.type == "quorum":
        arguments["x-delivery-limit"] = spec.returns
        if spec.overflow == "refuse":
            arguments |= _AT_LEAST_ONCE
        arguments |= _native_retry(spec)
        if spec.consumer_timeout is not None:
            arguments["x-consumer-timeout"] = round(spec.consumer_timeout * 1000)
    elif spec.priority is not None:
        arguments["x-max-priority"] = spec.priority
    if spec.single_active_consumer:
        arguments["x-single-active-consumer"] = True
    arguments |= limits(spec.ttl, spec.max_length, spec.max_length_bytes)
    return Queue(
        name=names.work(logical, spec.version),
        arguments=arguments,
        logical=logical,
        version=spec.version,
    )


def _native_retry(spec: QueueSpec) -> dict[str, Any]:
    native = spec.native_retry
    if native is None:
        return {}
    # only what failed waits: what a deploy returns politely is there for the next worker at once
    longest = native.min if native.max is None else native.max
    return {
        "x-delayed-retry-type": "failed",
        "x-delayed-retry-min": round(native.min * 1000),
        "x-delayed-retry-max": round(longest * 1000),
    }


def _dlq(names: Names, logical: str, spec: QueueSpec) -> Queue:
    kept = spec.dead_letter
    kept_at_most = limits(kept.ttl, kept.max_length, kept.max_length_bytes)
    if kept.max_length is not None or kept.max_length_bytes is not None:
        # A refused dead letter stays where it failed: with the worker, or in its work queue, where
        # 32 of those that RabbitMQ itself dead-letters stop its dead-lettering
        kept_at_most["x-overflow"] = "reject-publish" if kept.overflow == "refuse" else "drop-head"
    return Queue(
        name=names.dlq(logical, kept.version),
        arguments=_parking() | kept_at_most,
        logical=logical,
        version=kept.version,
        dead=True,
    )


def _unroutable_queue(names: Names) -> Queue:
    return Queue(name=names.unroutable, arguments=_parking())


def _parking() -> dict[str, Any]:
    """Return the arguments of a queue that people browse, which must not use its messages up."""
    return {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}


def _delay_queues(names: Names) -> Iterator[Queue]:
    for level in range(LEVELS):
        for digit in range(1, 10):
            arguments = _parking() | {
                "x-message-ttl": ttl_ms(level, digit),
                "x-dead-letter-exchange": names.after_delay(level),
                **_AT_LEAST_ONCE,
            }
            yield Queue(name=names.delay_queue(level, digit), arguments=arguments)


def _delay_bindings(names: Names) -> Iterator[Binding]:
    for level in range(LEVELS):
        source = names.delay_exchange(level)
        for digit in range(1, 10):
            queue = names.delay_queue(level, digit)
            yield Binding(source=source, destination=queue, key=binding_key(level, digit))
        # a zero does not wait
        yield Binding(
            source=source,
            destination=names.after_delay(level),
            key=binding_key(level, 0),
            to_exchange=True,
        )


def _extra_exchanges(topology: Topology, names: Names) -> Iterator[Exchange]:
    own = {exchange.name for exchange in _exchanges(names)}
    for key, spec in topology.exchanges.items():
        name = key.replace(NAMESPACE, names.namespace)
        if name in own:
            raise TopologyError(
                f"in the namespace {names.namespace}, the exchange {name} is stem-amqp's own",
                key=dotted(("exchanges", key)),
                remedy="Choose another name, such as {namespace}.audit.",
            )
        if spec.type is not None:
            yield Exchange(
                name=name,
                type=spec.type,
                arguments=_filled(spec.arguments, names),
                internal=spec.internal,
            )


def _extra_bindings(topology: Topology, names: Names) -> Iterator[Binding]:
    for spec in topology.bindings:
        to_exchange = spec.to == "exchange"
        destination = spec.destination
        full = to_exchange or destination in topology.extra_queues
        yield Binding(
            source=filled(spec.source, names),
            destination=(
                filled(destination, names)
                if full
                else names.work(destination, topology.queue(destination).version)
            ),
            key=spec.key,
            to_exchange=to_exchange,
            arguments=_filled(spec.arguments, names),
        )


def _filled(arguments: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {name: filled(value, names) for name, value in arguments.items()}
