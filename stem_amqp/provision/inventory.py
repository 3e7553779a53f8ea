"""The entities on the broker, read by the management API or, partially, by AMQP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.management import Management
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy
from stem_amqp.transport.base import Transport

_QUEUE_COLUMNS = (
    "name,type,durable,auto_delete,exclusive,arguments,policy,operator_policy,"
    "effective_policy_definition,messages,messages_unacknowledged,messages_dlx,consumers"
)
_EXCHANGE_COLUMNS = "name,type,durable,auto_delete,internal,arguments,policy"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundExchange:
    """An exchange on the broker; see `Exchange`.

    Args:
        name: its name.
        type: its type.
        arguments: its arguments.
        durable: whether it survives a restart of the broker.
        internal: whether only other exchanges can publish to it.
    """

    name: str
    type: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    durable: bool = True
    internal: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundQueue:
    """A queue on the broker; see `Queue`.

    Args:
        name: its name.
        type: ``quorum``, ``classic`` or ``stream``.
        arguments: its arguments.
        durable: whether it survives a restart of the broker.
        exclusive: whether it belongs to one connection, and is deleted with it.
        auto_delete: whether it is deleted with its last consumer.
        policy: the policy in force.
        operator_policy: the operator policy in force.
        effective: the settings of both policies.
        messages: messages in it, including unsettled ones; None if not known.
        unsettled: messages delivered to consumers and not settled.
        dead_lettering: messages whose dead-lettering is not confirmed yet.
        consumers: the number of consumers.
    """

    name: str
    type: str = "classic"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    policy: str | None = None
    operator_policy: str | None = None
    effective: Mapping[str, Any] = field(default_factory=dict)
    messages: int | None = None
    unsettled: int | None = None
    dead_lettering: int = 0
    consumers: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """The first differing argument, from the error of RabbitMQ.

    Args:
        argument: the argument.
        wanted: its value in the topology.
        current: its value on the broker.
    """

    argument: str
    wanted: str
    current: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """The entities on the broker.

    Args:
        source: ``management`` knows everything; ``amqp`` knows only whether an entity of a given name
            exists, and its first differing argument.
        exchanges: by name.
        queues: by name.
        bindings: all bindings of these.
        policies: the policies of the virtual host, and its operator policies if they may be read.
        mismatches: by name, if the source is ``amqp``.
    """

    source: Literal["management", "amqp"]
    exchanges: Mapping[str, FoundExchange] = field(default_factory=dict)
    queues: Mapping[str, FoundQueue] = field(default_factory=dict)
    bindings: tuple[Binding, ...] = ()
    policies: tuple[Policy, ...] = ()
    mismatches: Mapping[str, Mismatch] = field(default_factory=dict)


async def take_inventory(management: Management, prefix: str = "") -> Inventory:
    """Read all entities from the management API.

    Args:
        management: the API.
        prefix: the prefix of the names of queues and exchanges; empty for all. Bindings and policies
            are those of the whole virtual host.

    Raises:
        ManagementError: it does not answer, or refuses access.
    """
    named, bindings, policies = await asyncio.gather(
        take_names(management, prefix),
        management.get("bindings", management.virtual_host),
        find_policies(management),
    )
    return replace(
        named,
        bindings=tuple(_binding(found) for found in bindings if found["source"]),
        policies=policies,
    )


async def take_names(management: Management, prefix: str) -> Inventory:
    """Read only queues and exchanges from the management API.

    Args:
        management: the API.
        prefix: the prefix of their names; empty for all.

    Raises:
        ManagementError: it does not answer, or refuses access.
    """
    queues, exchanges = await asyncio.gather(
        management.listing("queues", prefix, _QUEUE_COLUMNS),
        management.listing("exchanges", prefix, _EXCHANGE_COLUMNS),
    )
    return Inventory(
        source="management",
        exchanges={found["name"]: _exchange(found) for found in exchanges if found["name"]},
        queues={found["name"]: _queue(found) for found in queues},
    )


async def find_policies(management: Management) -> tuple[Policy, ...]:
    """Return the policies of the virtual host, and its operator policies if they may be read.

    Raises:
        ManagementError: the API does not answer, or refuses access.
    """
    own, operator = await asyncio.gather(
        management.get("policies", management.virtual_host), _operator_policies(management)
    )
    return (*(_policy(one) for one in own), *(_policy(one, operator=True) for one in operator))


async def find_queue(management: Management, name: str) -> FoundQueue | None:
    """Return one queue, or None if it does not exist.

    Raises:
        ManagementError: the API does not answer, or refuses access.
    """
    found = await management.listing("queues", name, _QUEUE_COLUMNS)
    return next((_queue(one) for one in found if one["name"] == name), None)


async def bindings_of(management: Management, kind: str, name: str, *end: str) -> list[Binding]:
    """Return the bindings of a queue or an exchange, without those of the default exchange.

    Args:
        management: the API.
        kind: ``queues`` or ``exchanges``.
        name: its name.
        *end: for an exchange, ``source`` or ``destination``: its end of the bindings.

    Raises:
        ManagementError: the API does not answer, or the entity does not exist.
    """
    found = await management.get(kind, management.virtual_host, name, "bindings", *end)
    return [_binding(one) for one in found if one["source"]]


async def ask_by_amqp(transport: Transport, entities: Entities) -> Inventory:
    """Find out by AMQP only which entities of a topology exist, and whether they differ.

    Existing entities are declared again, which changes nothing and fails if they differ. RabbitMQ
    names only the first difference; bindings, policies and undeclared entities stay unknown.

    Args:
        transport: connected.
        entities: the compiled topology.

    Raises:
        BrokerError: the broker cannot be reached, or the user has no permission to declare.
    """
    missing = {entity.name for entity in await transport.missing(entities)}
    mismatches: dict[str, Mismatch] = {}
    exchanges: dict[str, FoundExchange] = {}
    queues: dict[str, FoundQueue] = {}
    for exchange in entities.exchanges:
        if exchange.name not in missing:
            one = Entities(exchanges=(exchange,))
            mismatches |= await _refusal(transport, exchange.name, one)
            exchanges[exchange.name] = _as_found(exchange)
    for queue in entities.queues:
        if queue.name not in missing:
            mismatches |= await _refusal(transport, queue.name, Entities(queues=(queue,)))
            kind = str(queue.arguments.get("x-queue-type", "classic"))
            queues[queue.name] = FoundQueue(name=queue.name, type=kind, arguments=queue.arguments)
    return Inventory(source="amqp", exchanges=exchanges, queues=queues, mismatches=mismatches)


async def _refusal(transport: Transport, name: str, entity: Entities) -> dict[str, Mismatch]:
    try:
        await transport.declare(entity)
    except TopologyMismatchError as error:
        return {name: Mismatch(argument=error.argument, wanted=error.wanted, current=error.current)}
    return {}


def _as_found(exchange: Exchange) -> FoundExchange:
    return FoundExchange(
        name=exchange.name,
        type=exchange.type,
        internal=exchange.internal,
        arguments=exchange.arguments,
    )


async def _operator_policies(management: Management) -> Iterable[Mapping[str, Any]]:
    try:
        found: Iterable[Mapping[str, Any]] = await management.get(
            "operator-policies", management.virtual_host
        )
    except ManagementError:
        return ()  # they need a permission of their own; each queue shows their effect anyway
    return found


def _exchange(found: Mapping[str, Any]) -> FoundExchange:
    return FoundExchange(
        name=found["name"],
        type=found["type"],
        arguments=found.get("arguments") or {},
        durable=found.get("durable", True),
        internal=found.get("internal", False),
    )


def _queue(found: Mapping[str, Any]) -> FoundQueue:
    arguments = found.get("arguments") or {}
    return FoundQueue(
        name=found["name"],
        type=str(arguments.get("x-queue-type") or found.get("type") or "classic"),
        arguments=arguments,
        durable=found.get("durable", True),
        exclusive=bool(found.get("exclusive", False)),
        auto_delete=bool(found.get("auto_delete", False)),
        policy=found.get("policy") or None,
        operator_policy=found.get("operator_policy") or None,
        effective=found.get("effective_policy_definition") or {},
        messages=found.get("messages"),
        unsettled=found.get("messages_unacknowledged"),
        dead_lettering=found.get("messages_dlx") or 0,
        consumers=found.get("consumers"),
    )


def _binding(found: Mapping[str, Any]) -> Binding:
    return Binding(
        source=found["source"],
        destination=found["destination"],
        key=found["routing_key"],
        to_exchange=found["destination_type"] == "exchange",
        arguments=found.get("arguments") or {},
    )


def _policy(found: Mapping[str, Any], *, operator: bool = False) -> Policy:
    return Policy(
        name=found["name"],
        pattern=found["pattern"],
        apply_to=found.get("apply-to", "all"),
        definition=found.get("definition") or {},
        priority=found.get("priority", 0),
        operator=operator,
    )


__all__ = [
    "FoundExchange",
    "FoundQueue",
    "Inventory",
    "Mismatch",
    "ask_by_amqp",
    "bindings_of",
    "find_policies",
    "find_queue",
    "take_inventory",
    "take_names",
]
