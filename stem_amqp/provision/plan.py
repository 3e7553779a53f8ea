"""What is between a topology and the broker: what to create, to change, to migrate. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stem_amqp.provision.foreign import is_of_this_namespace
from stem_amqp.provision.inventory import FoundQueue, Inventory
from stem_amqp.provision.remedy import LOWER_WINS, by_policy, exchange_remedy, queue_remedy
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.names import Names

_VERSION = re.compile(r"\.v\d+$")
Kind = Literal["exchange", "queue", "binding", "policy"]
MISSING = "–"  # noqa: RUF001 - stands for an argument that is not there


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """One value that differs.

    Args:
        key: the argument's or setting's name.
        wanted: the value in the topology.
        current: the value on the broker.
    """

    key: str
    wanted: str
    current: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that is not as the topology says.

    Args:
        kind: what it is.
        name: its name; of a binding, both ends and the key.
        entity: the entity as it is wanted, or, of what nobody declares, as it is.
        details: what differs.
        remedy: what to do about it, where applying the topology does not do it.
    """

    kind: Kind
    name: str
    entity: Exchange | Queue | Binding | Policy
    details: tuple[Detail, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is between a topology and the broker.

    Args:
        source: who told what is there; see `Inventory`.
        create: what is missing.
        change: what differs, and is changed in place by applying the topology.
        blocked: what differs and cannot be changed in place.
        undeclared: what is in the namespace, and in no topology.
        same: how many entities are as they should be.
        notes: what the plan could not see, and what else there is to know.
    """

    source: Literal["management", "amqp"]
    create: tuple[Step, ...] = ()
    change: tuple[Step, ...] = ()
    blocked: tuple[Step, ...] = ()
    undeclared: tuple[Step, ...] = ()
    same: int = 0
    notes: tuple[str, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything that the topology wants is there, as it wants it."""
        return not (self.create or self.change or self.blocked)


def make_plan(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str = ""
) -> Plan:
    """Compare a topology with what is on the broker.

    Args:
        entities: the compiled topology.
        inventory: what is there: everything in the virtual host, or what was asked for.
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
        notes += _overruled(entities, inventory)
    else:
        notes.append(
            "without the management API only the first differing argument of each exchange and queue is"
            " known, and bindings, policies and what nobody declares are not looked at"
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
    )


def differing(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str = ""
) -> tuple[Step, ...]:
    """Return the exchanges and queues that are there, and otherwise than the topology says.

    Args:
        entities: the compiled topology.
        inventory: what is there; what else it has or has not does not count.
        names: the names in the namespace.
        file: the topology file, for the commands in remedies.
    """
    return tuple(
        step
        for step, found in _entities(entities, inventory, names, file)
        if found and step.details
    )


def describe(binding: Binding) -> str:
    """Write a binding on one line."""
    key = f" [{binding.key}]" if binding.key else ""
    arguments = f" {written(binding.arguments)}" if binding.arguments else ""
    kind = " (exchange)" if binding.to_exchange else ""
    return f"{binding.source} →{key}{arguments} {binding.destination}{kind}"


def written(value: Any) -> str:
    """Write a value of an argument."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _entities(
    entities: Entities, inventory: Inventory, names: Names, file: Path | str
) -> Iterator[tuple[Step, bool]]:
    """Yield a step for every exchange and queue, and whether it is there."""
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
    """Return the difference that RabbitMQ's refusal named."""
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
    """Yield a step for every policy that is missing or differs, the latter with details."""
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


def _overruled(entities: Entities, inventory: Inventory) -> Iterator[str]:
    """Yield where a policy that is in force makes something else of an argument."""
    for queue in entities.queues:
        found = inventory.queues.get(queue.name)
        if found is None:
            continue
        for argument, setting in LOWER_WINS.items():
            wanted, forced = queue.arguments.get(argument), found.effective.get(setting)
            if isinstance(forced, int) and isinstance(wanted, int) and forced < wanted:
                yield (
                    f"queue {queue.name}: {argument} is {wanted}, but {_whose(found)} makes it"
                    f" {forced}: the lower value counts"
                )


def _whose(found: FoundQueue) -> str:
    named = [
        f"the {kind} {name}"
        for kind, name in (("policy", found.policy), ("operator policy", found.operator_policy))
        if name
    ]
    return " or ".join(named) or "a policy"


def _undeclared(entities: Entities, inventory: Inventory, names: Names) -> Iterator[Step]:
    """Yield what is in the namespace and in no topology; bindings of others are theirs."""
    if inventory.source != "management":
        return
    wanted = {exchange.name for exchange in entities.exchanges}
    wanted |= {queue.name for queue in entities.queues}
    ours = is_of_this_namespace(names, inventory)
    bound = {_identity(known) for known in entities.bindings}
    for binding in inventory.bindings:
        if {binding.source, binding.destination} <= wanted and _identity(binding) not in bound:
            yield Step(kind="binding", name=describe(binding), entity=binding)
    versioned = _versioned(entities, names)
    for queue in inventory.queues.values():
        transient = queue.exclusive or queue.auto_delete or not queue.durable
        if queue.name in wanted or transient or not ours(queue.name):
            continue
        # another version's time is not over, or has not come: see `provision.versions`
        if _VERSION.sub("", queue.name) not in versioned:
            yield _left_over(queue)
    yield from _other_left_overs(entities, inventory, names)


def _left_over(queue: FoundQueue) -> Step:
    held = Detail(key="messages", wanted="0", current=str(queue.messages))
    used = Detail(key="consumers", wanted="0", current=str(queue.consumers))
    found = Queue(name=queue.name, arguments=queue.arguments)
    return Step(kind="queue", name=queue.name, entity=found, details=(held, used))


def _other_left_overs(entities: Entities, inventory: Inventory, names: Names) -> Iterator[Step]:
    """Yield exchanges and policies that nobody declares."""
    ours = is_of_this_namespace(names, inventory)
    wanted = {exchange.name for exchange in entities.exchanges}
    for exchange in inventory.exchanges.values():
        if exchange.name not in wanted and ours(exchange.name):
            # an exchange of a plugin's type is deleted by its name as well
            yield Step(
                kind="exchange",
                name=exchange.name,
                entity=Exchange(name=exchange.name, type="topic", arguments=exchange.arguments),
            )
    known = {(policy.name, policy.operator) for policy in entities.policies}
    versioned = _versioned(entities, names)
    for policy in inventory.policies:
        # another version of a queue lives by the policy of its name, as long as it is there
        used = policy.name in inventory.queues and _VERSION.sub("", policy.name) in versioned
        if (policy.name, policy.operator) not in known and ours(policy.name) and not used:
            yield Step(kind="policy", name=policy.name, entity=policy)


def _versioned(entities: Entities, names: Names) -> set[str]:
    """Return the first versions of the queues that have versions."""
    return {
        name
        for queue in entities.queues
        if queue.logical is not None
        for name in (names.work(queue.logical), names.dlq(queue.logical))
    }
