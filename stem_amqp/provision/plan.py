"""Compare a topology with the broker: what to create, change or migrate. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stem_amqp.provision.foreign import is_of_this_namespace
from stem_amqp.provision.former_delays import FormerDelays, find_former_delays
from stem_amqp.provision.inventory import FoundQueue, Inventory
from stem_amqp.provision.policy_notes import overruled, unknown_limits
from stem_amqp.provision.remedy import by_policy, exchange_remedy, queue_remedy
from stem_amqp.provision.step import Detail, Step
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.names import FormerNames, Names

_VERSION = re.compile(r"\.v\d+$")
MISSING = "–"  # noqa: RUF001 - stands for an argument that is not there


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The differences between a topology and the broker.

    Args:
        source: the source of the inventory; see `Inventory`.
        create: missing entities.
        change: differing entities that applying the topology changes in place.
        blocked: differing entities that cannot be changed in place.
        undeclared: entities of the namespace that are not in the topology.
        same: the number of entities without differences.
        notes: limits of the plan, and other remarks.
        former_delays: the delays of an earlier release that are still on the broker.
    """

    source: Literal["management", "amqp"]
    create: tuple[Step, ...] = ()
    change: tuple[Step, ...] = ()
    blocked: tuple[Step, ...] = ()
    undeclared: tuple[Step, ...] = ()
    same: int = 0
    notes: tuple[str, ...] = ()
    former_delays: FormerDelays | None = None

    @property
    def nothing_to_do(self) -> bool:
        """Whether every entity of the topology exists without differences."""
        return not (self.create or self.change or self.blocked)


def make_plan(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str = ""
) -> Plan:
    """Compare a topology with the entities on the broker.

    Args:
        entities: the compiled topology.
        inventory: the entities on the broker: all of the virtual host, or those asked for by name.
        names: the names in the namespace.
        file: the topology file, for the commands in remedies.
    """
    create: list[Step] = []
    change: list[Step] = []
    blocked: list[Step] = []
    notes: list[str] = []
    for step, found in _entities(entities, inventory, names, file):
        if not found:
            create.append(step)
        elif step.details:
            blocked.append(step)
    if inventory.source == "management":
        create += _missing_bindings(entities, inventory)
        for step in _policies(entities, inventory):
            (change if step.details else create).append(step)
        notes += overruled(entities, inventory)
        notes += unknown_limits(entities, inventory, names)
    else:
        notes.append(
            "without the management API only the first differing argument of each exchange and queue is"
            " known; bindings, policies and undeclared entities are not compared"
        )
    total = len(entities.exchanges) + len(entities.queues)
    if inventory.source == "management":
        total += len(entities.bindings) + len(entities.policies)
    return Plan(
        source=inventory.source,
        create=tuple(create),
        change=tuple(change),
        blocked=tuple(blocked),
        undeclared=tuple(_undeclared(entities, inventory, names)),
        same=total - len(create) - len(change) - len(blocked),
        notes=tuple(notes),
        former_delays=find_former_delays(inventory, names),
    )


def differing(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str = ""
) -> tuple[Step, ...]:
    """Return the existing exchanges and queues that differ from the topology.

    Args:
        entities: the compiled topology.
        inventory: the entities on the broker; missing and undeclared ones are ignored.
        names: the names in the namespace.
        file: the topology file, for the commands in remedies.
    """
    return tuple(
        step
        for step, found in _entities(entities, inventory, names, file)
        if found and step.details
    )


def describe(binding: Binding) -> str:
    """Format a binding on one line."""
    key = f" [{binding.key}]" if binding.key else ""
    arguments = f" {written(binding.arguments)}" if binding.arguments else ""
    kind = " (exchange)" if binding.to_exchange else ""
    return f"{binding.source} →{key}{arguments} {binding.destination}{kind}"


def written(value: Any) -> str:
    """Format the value of an argument."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _entities(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str
) -> Iterator[tuple[Step, bool]]:
    """Yield a step for every exchange and queue, and whether it exists."""
    for exchange in entities.exchanges:
        found = inventory.exchanges.get(exchange.name)
        details: list[Detail] = []
        if found is not None:
            details += _differences(exchange.arguments, found.arguments)
            if found.type != exchange.type:
                details.insert(0, Detail(key="type", wanted=exchange.type, current=found.type))
            if found.internal != exchange.internal:
                wanted_internal, internal = written(exchange.internal), written(found.internal)
                details.append(Detail(key="internal", wanted=wanted_internal, current=internal))
        details = _named(exchange.name, inventory) or details
        yield _step("exchange", exchange, details, exchange_remedy(exchange)), found is not None
    for queue in entities.queues:
        found_queue = inventory.queues.get(queue.name)
        details = []
        if found_queue is not None:
            wanted, current = dict(queue.arguments), dict(found_queue.arguments)
            current.setdefault("x-queue-type", found_queue.type)
            details += _differences(wanted, current)
            if not found_queue.durable:
                details.append(Detail(key="durable", wanted="true", current="false"))
        remedy = queue_remedy(queue, file)
        if found_queue is not None and inventory.source == "management":
            hint = by_policy(details, queue, found_queue, names)
            remedy = "\n".join(filter(None, (remedy, hint)))
        details = _named(queue.name, inventory) or details
        yield _step("queue", queue, details, remedy), found_queue is not None


def _step(
    kind: Literal["exchange", "queue"],
    entity: Exchange | Queue,
    details: list[Detail],
    remedy: str,
) -> Step:
    return Step(
        kind=kind,
        name=entity.name,
        entity=entity,
        details=tuple(details),
        remedy=remedy if details else "",
    )


def _named(name: str, inventory: Inventory) -> list[Detail]:
    """Return the difference from the error of RabbitMQ."""
    found = inventory.mismatches.get(name)
    if found is None:
        return []
    return [Detail(key=found.argument, wanted=found.wanted, current=found.current)]


def _differences(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> list[Detail]:
    return [
        Detail(
            key=key,
            wanted=written(wanted[key]) if key in wanted else MISSING,
            current=written(current[key]) if key in current else MISSING,
        )
        for key in sorted({*wanted, *current})
        if (key in wanted) != (key in current) or wanted[key] != current[key]
    ]


def _identity(binding: Binding) -> tuple[Any, ...]:
    arguments = json.dumps(dict(binding.arguments), sort_keys=True, default=str)
    return binding.source, binding.destination, binding.key, binding.to_exchange, arguments


def _missing_bindings(entities: Entities, inventory: Inventory) -> Iterator[Step]:
    there = {_identity(binding) for binding in inventory.bindings}
    for binding in entities.bindings:
        if _identity(binding) not in there:
            yield Step(kind="binding", name=describe(binding), entity=binding)


def _policies(entities: Entities, inventory: Inventory) -> Iterator[Step]:
    """Yield a step for every missing or differing policy, the latter with details."""
    there = {(policy.name, policy.operator): policy for policy in inventory.policies}
    for policy in entities.policies:
        found = there.get((policy.name, policy.operator))
        if found is None:
            yield Step(kind="policy", name=policy.name, entity=policy)
            continue
        details = [
            Detail(key=key, wanted=written(wanted), current=written(current))
            for key, wanted, current in (
                ("pattern", policy.pattern, found.pattern),
                ("apply-to", policy.apply_to, found.apply_to),
                ("priority", policy.priority, found.priority),
            )
            if wanted != current
        ] + _differences(policy.definition, found.definition)
        if details:
            yield Step(kind="policy", name=policy.name, entity=policy, details=tuple(details))


def _undeclared(entities: Entities, inventory: Inventory, names: Names) -> Iterator[Step]:
    """Yield the undeclared entities of the namespace; bindings to foreign entities are ignored."""
    if inventory.source != "management":
        return
    wanted = {exchange.name for exchange in entities.exchanges}
    wanted |= {queue.name for queue in entities.queues}
    former = FormerNames(names.namespace).delay_parts()
    ours = is_of_this_namespace(names, inventory)
    bound = {_identity(known) for known in entities.bindings}
    for binding in inventory.bindings:
        if {binding.source, binding.destination} <= wanted and _identity(binding) not in bound:
            yield Step(kind="binding", name=describe(binding), entity=binding)
    versioned = _versioned(entities, names)
    for queue in inventory.queues.values():
        transient = queue.exclusive or queue.auto_delete or not queue.durable
        if queue.name in wanted | former or transient or not ours(queue.name):
            continue
        # Another version may still be in use, or may be used next: see `provision.versions`
        if _VERSION.sub("", queue.name) not in versioned:
            yield _left_over(queue)
    yield from _other_left_overs(entities, inventory, names)


def _left_over(queue: FoundQueue) -> Step:
    held = Detail(key="messages", wanted="0", current=str(queue.messages))
    used = Detail(key="consumers", wanted="0", current=str(queue.consumers))
    found = Queue(name=queue.name, arguments=queue.arguments)
    return Step(kind="queue", name=queue.name, entity=found, details=(held, used))


def _other_left_overs(entities: Entities, inventory: Inventory, names: Names) -> Iterator[Step]:
    """Yield undeclared exchanges and policies."""
    ours = is_of_this_namespace(names, inventory)
    # The delays of an earlier release are reported and deleted as one: see `provision.former_delays`
    wanted = {exchange.name for exchange in entities.exchanges}
    wanted |= FormerNames(names.namespace).delay_parts()
    for exchange in inventory.exchanges.values():
        if exchange.name not in wanted and ours(exchange.name):
            # An exchange is deleted by its name, so the type of a plugin does not matter
            yield Step(
                kind="exchange",
                name=exchange.name,
                entity=Exchange(name=exchange.name, type="topic", arguments=exchange.arguments),
            )
    known = {(policy.name, policy.operator) for policy in entities.policies}
    versioned = _versioned(entities, names)
    for policy in inventory.policies:
        # An existing version of a queue needs the policy of the same name
        used = policy.name in inventory.queues and _VERSION.sub("", policy.name) in versioned
        if (policy.name, policy.operator) not in known and ours(policy.name) and not used:
            yield Step(kind="policy", name=policy.name, entity=policy)


def _versioned(entities: Entities, names: Names) -> set[str]:
    """Return the names of the first version of all queues with versions."""
    return {
        name
        for queue in entities.queues
        if queue.logical is not None
        for name in (names.work(queue.logical), names.dlq(queue.logical))
    }
