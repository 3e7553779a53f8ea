"""Compile a topology to exchanges, queues, bindings and policies; a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stem_amqp.delay import delivery_key
from stem_amqp.errors import TopologyError
from stem_amqp.topology.delays import AT_LEAST_ONCE, delays, parking
from stem_amqp.topology.directives import directives, schedules
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.extra_queues import extra_queues, limits
from stem_amqp.topology.holding_queues import can_refuse, holding_key, holding_queue
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import REJECTED_KEY, Names
from stem_amqp.topology.policies import filled, refuse_clashes, split, written
from stem_amqp.topology.spec.mistake import dotted, queue_name_mistake
from stem_amqp.topology.spec.queues import QueueSpec
from stem_amqp.topology.spec.values import NAMESPACE


def compile_topology(topology: Topology, names: Names, queues: Iterable[str] = ()) -> Entities:
    """Return the entities of a topology on the broker.

    Args:
        topology: the topology.
        names: the names in the namespace.
        queues: further logical queues, such as those that tasks name.

    Returns:
            The entities in the order of declaration: a work queue is bound to new tasks last.

    Raises:
            TopologyError: a queue's name is not valid, or an exchange's name is reserved.
    """
    logical = sorted({*topology.declared, *queues})
    for name in logical:
        mistake = queue_name_mistake(name, ("queues", name))
        if mistake is not None:
            raise TopologyError(mistake.problem, key=dotted(mistake.place), remedy=mistake.remedy)
    work = {name: names.work(name, topology.queue(name).version) for name in logical}
    dead = {name: names.dlq(name, topology.queue(name).dead_letter.version) for name in logical}
    waits, ordered, scheduled = delays(names), directives(names), schedules(names)
    full = [name for name in logical if refuses(topology, names, name)]
    holding = [holding_queue(names, name) for name in full]
    declared, generated = _declared(
        topology, names, logical, (*ordered.queues, *scheduled.queues, *waits.queues, *holding)
    )
    return Entities(
        exchanges=(*_exchanges(names), *_extra_exchanges(topology, names)),
        queues=(*declared, *ordered.queues, *scheduled.queues, *waits.queues, *holding),
        bindings=(
            Binding(source=names.unroutable, destination=names.unroutable),
            *ordered.bindings,
            *scheduled.bindings,
            *(Binding(source=names.dead, destination=dead[q], key=q) for q in logical),
            *_rejected_binding(topology, names),
            *waits.bindings,
            *(
                Binding(source=names.deliver, destination=work[q], key=delivery_key(q))
                for q in logical
            ),
            *(
                Binding(source=names.deliver, destination=names.due(q), key=holding_key(q))
                for q in full
            ),
            *_extra_bindings(topology, names),
            *(Binding(source=names.tasks, destination=work[q], key=q) for q in logical),
        ),
        policies=(*generated, *written(topology, names)),
    )


def _declared(
    topology: Topology, names: Names, logical: Iterable[str], waits: Iterable[Queue]
) -> tuple[tuple[Queue, ...], tuple[Policy, ...]]:
    """Return the queues without those of delays, and the policies that hold their settings."""
    own = [
        *(_dlq(names, name, topology.queue(name)) for name in logical),
        *(work_queue(names, name, topology.queue(name)) for name in logical),
    ]
    parked = (_unroutable_queue(names), *_rejected_queue(topology, names))
    taken = {queue.name for queue in (*parked, *own, *waits)}
    extra = list(extra_queues(topology, names, taken))
    if topology.settings == "arguments":
        return (*parked, *extra, *own), ()
    # the fixed settings of these queues and of the delays remain arguments
    parts = [split(queue) for queue in (*extra, *own)]
    generated = tuple(policy for _, policy in parts if policy is not None)
    kinds = {queue.name: str(queue.arguments["x-queue-type"]) for queue, _ in parts}
    refuse_clashes(topology, names, generated, kinds)
    return (*parked, *(queue for queue, _ in parts)), generated


def _exchanges(names: Names) -> tuple[Exchange, ...]:
    parked = {"alternate-exchange": names.unroutable}
    return (
        # no alternate exchange: a publish for an unknown queue must fail in the producer
        Exchange(name=names.tasks, type="topic"),
        Exchange(name=names.dead, type="direct", arguments=parked),
        *delays(names).exchanges,
        Exchange(name=names.deliver, type="topic", arguments=parked),
        Exchange(name=names.unroutable, type="fanout"),
        Exchange(name=names.control, type="fanout"),
        *directives(names).exchanges,
        *schedules(names).exchanges,
        Exchange(name=names.events, type="topic"),
    )


def work_queue(names: Names, logical: str, spec: QueueSpec) -> Queue:
    """Return the work queue of a logical queue, with all its settings as arguments.

    Args:
        names: the names in the namespace.
        logical: the logical queue.
        spec: its settings.
    """
    arguments: dict[str, Any] = {
        "x-queue-type": spec.type,
        "x-dead-letter-exchange": names.dead,
        "x-dead-letter-routing-key": logical,
        # by default, a full queue refuses instead of dead-lettering its oldest messages
        "x-overflow": "reject-publish" if spec.overflow == "refuse" else "drop-head",
    }
    if spec.type == "quorum":
        arguments["x-delivery-limit"] = spec.returns
        if spec.overflow == "refuse":
            arguments |= AT_LEAST_ONCE
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


def refuses(topology: Topology, names: Names, logical: str) -> bool:
    """Return whether a work queue can be full and then refuses messages, by its settings or a policy.

    Args:
        topology: the topology.
        names: the names in the namespace.
        logical: the logical queue.
    """
    queue = work_queue(names, logical, topology.queue(logical))
    return can_refuse(queue, written(topology, names))


def _native_retry(spec: QueueSpec) -> dict[str, Any]:
    native = spec.native_retry
    if native is None:
        return {}
    # only failed messages wait; messages that a stopping worker requeues are available at once
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
        # A refused dead letter remains where it failed: in the worker, or in its work queue, where
        # 32 of those that RabbitMQ itself dead-letters block further dead-lettering
        kept_at_most["x-overflow"] = "reject-publish" if kept.overflow == "refuse" else "drop-head"
    return Queue(
        name=names.dlq(logical, kept.version),
        arguments=parking() | kept_at_most,
        logical=logical,
        version=kept.version,
        dead=True,
    )


def _unroutable_queue(names: Names) -> Queue:
    return Queue(name=names.unroutable, arguments=parking())


def _rejected_queue(topology: Topology, names: Names) -> Iterator[Queue]:
    spec = topology.rejected
    if spec is not None:
        # any publisher can fill it, so it never refuses and never blocks a worker
        arguments = parking() | limits(spec.ttl, spec.max_length, spec.max_length_bytes)
        yield Queue(name=names.rejected, arguments=arguments | {"x-overflow": "drop-head"})


def _rejected_binding(topology: Topology, names: Names) -> Iterator[Binding]:
    if topology.rejected is not None:
        yield Binding(source=names.dead, destination=names.rejected, key=REJECTED_KEY)


def _extra_exchanges(topology: Topology, names: Names) -> Iterator[Exchange]:
    own = {exchange.name for exchange in _exchanges(names)}
    for key, spec in topology.exchanges.items():
        name = key.replace(NAMESPACE, names.namespace)
        if name in own:
            raise TopologyError(
                f"in the namespace {names.namespace}, the exchange name {name} is reserved for stem-amqp",
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
