"""Declare, delete and bind entities; existing ones must be equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stem_amqp.errors import BrokerRefusedError, TopologyMismatchError, TopologyMissingError
from stem_amqp.topology.entities import BUILT_IN_TYPES, Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.policies import effective
from stem_amqp.transport.memory.engine import Engine
from stem_amqp.transport.memory.exchange import Router
from stem_amqp.transport.memory.queue import MemoryQueue

_COMPARED = frozenset(
    {
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-delivery-limit",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-message-ttl",
        "x-overflow",
        "x-queue-type",
        "x-single-active-consumer",
    }
)
"""The arguments of a queue that RabbitMQ compares; it ignores unknown ones."""


def declare(engine: Engine, entities: Entities) -> None:
    """Declare missing entities, and apply the policies to queues.

    Raises:
        TopologyMismatchError: an entity exists with another type or other arguments.
        TopologyMissingError: a binding's source or destination does not exist.
        BrokerRefusedError: an exchange has the type of a plugin.
    """
    for exchange in entities.exchanges:
        _declare_exchange(engine.router, exchange)
    _put_policies(engine.router, entities.policies)
    for queue in entities.queues:
        _declare_queue(engine.router, queue)
    for binding in entities.bindings:
        _bind(engine.router, binding)
    # a kept dead letter may have a route now
    engine.release_held()


def missing(router: Router, entities: Entities) -> list[Exchange | Queue]:
    """Return the exchanges and queues that do not exist."""
    return [
        *(exchange for exchange in entities.exchanges if exchange.name not in router.exchanges),
        *(queue for queue in entities.queues if queue.name not in router.queues),
    ]


def delete(engine: Engine, entities: Entities) -> None:
    """Delete exchanges and queues with their messages; missing ones are ignored."""
    for declared in entities.queues:
        queue = engine.router.queues.get(declared.name)
        if queue is not None:
            engine.remove(queue)
    for exchange in entities.exchanges:
        engine.router.remove_exchange(exchange.name)


def _declare_exchange(router: Router, wanted: Exchange) -> None:
    if wanted.type not in BUILT_IN_TYPES:
        raise BrokerRefusedError(
            f"cannot declare exchange {wanted.name!r}: the in-memory broker has no exchanges of"
            f" type {wanted.type}.\n  Use a RabbitMQ for this topology."
        )
    existing = router.exchanges.get(wanted.name)
    if existing is None:
        router.add_exchange(wanted)
        return
    here = {
        "type": existing.declared.type,
        "internal": existing.declared.internal,
        "alternate-exchange": existing.alternate,
    }
    asked = {
        "type": wanted.type,
        "internal": wanted.internal,
        "alternate-exchange": wanted.arguments.get("alternate-exchange"),
    }
    _compare(f"exchange {wanted.name!r}", here, asked)


def _put_policies(router: Router, policies: Iterable[Policy]) -> None:
    changed = {(policy.operator, policy.name): policy for policy in policies}
    if not changed:
        return
    router.policies |= changed
    for queue in router.queues.values():
        declared = Queue(name=queue.name, arguments=queue.arguments)
        queue.configure(effective(declared, router.policies.values()))


def _declare_queue(router: Router, wanted: Queue) -> None:
    existing = router.queues.get(wanted.name)
    if existing is None:
        settings = effective(wanted, router.policies.values())
        router.add_queue(MemoryQueue(wanted.name, wanted.arguments, settings=settings))
        return
    _compare(f"queue {wanted.name!r}", _compared(existing.arguments), _compared(wanted.arguments))


def _compared(arguments: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: arguments.get(name) for name in sorted(_COMPARED)}
    return asked | {"x-queue-type": arguments.get("x-queue-type", "classic")}


def _compare(entity: str, here: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    kind = entity.partition(" ")[0]
    for name, value in asked.items():
        if here[name] == value:
            continue
        raise TopologyMismatchError(
            f"{entity} exists with {name} {_shown(here[name])}, and the topology has"
            f" {_shown(value)}; this cannot be changed in place.\n  Write {_shown(here[name])} into"
            f" the topology, or delete the {kind} once nothing uses it, so that it is declared"
            " again."
        )


def _shown(value: object) -> str:
    return "not set" if value is None else repr(value)


def rebind(engine: Engine, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
    """Add bindings, then remove others.

    Args:
        engine: the broker.
        bind: the bindings to add.
        unbind: the bindings to remove; missing ones are ignored.

    Raises:
        TopologyMissingError: a source or destination of a new binding does not exist.
    """
    for binding in bind:
        _bind(engine.router, binding)
    for binding in unbind:
        engine.router.unbind(binding)


def _bind(router: Router, binding: Binding) -> None:
    known: Mapping[str, object] = router.exchanges if binding.to_exchange else router.queues
    kind = "exchange" if binding.to_exchange else "queue"
    checks: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        ("exchange", binding.source, router.exchanges.__contains__),
        (kind, binding.destination, known.__contains__),
    )
    for what, name, is_there in checks:
        if not is_there(name):
            raise TopologyMissingError(
                f"there is no {what} {name!r}, so {binding.source!r} cannot be bound to"
                f" {binding.destination!r}.\n  Declare it before its bindings."
            )
    router.bind(binding)
