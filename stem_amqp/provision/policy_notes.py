"""Notes of a plan about policies on the broker that change the effect of a topology."""

from __future__ import annotations

from collections.abc import Iterator

from stem_amqp.provision.inventory import FoundQueue, Inventory
from stem_amqp.provision.remedy import LOWER_WINS
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.holding_queues import refuses_when_full
from stem_amqp.topology.names import Names


def overruled(entities: Entities, inventory: Inventory) -> Iterator[str]:
    """Yield the arguments that a policy in force overrides."""
    for queue in entities.queues:
        found = inventory.queues.get(queue.name)
        if found is None:
            continue
        for argument, setting in LOWER_WINS.items():
            wanted, forced = queue.arguments.get(argument), found.effective.get(setting)
            if isinstance(forced, int) and isinstance(wanted, int) and forced < wanted:
                yield (
                    f"queue {queue.name}: {argument} is {wanted}, but {_origin(found)} sets {forced}:"
                    " the lower value is in force"
                )


def unknown_limits(entities: Entities, inventory: Inventory, names: Names) -> Iterator[str]:
    """Yield the work queues whose length a policy limits that is not in the topology."""
    declared = {queue.name for queue in entities.queues}
    for queue in entities.queues:
        found = inventory.queues.get(queue.name)
        if found is None or queue.logical is None or queue.dead:
            continue
        forced = {f"x-{key}": value for key, value in found.effective.items()}
        limit = {"x-max-length", "x-max-length-bytes"} & forced.keys()
        known = names.due(queue.logical) in declared
        if limit and not known and refuses_when_full({**queue.arguments, **forced}):
            yield (
                f"queue {queue.name}: {_origin(found)} limits its length, which the topology does not"
                " contain: once it is full, its delayed tasks block the delays of all queues. Set"
                " max_length (or max_length_bytes) for it in the topology file, or add the policy to"
                " policies"
            )


def _origin(found: FoundQueue) -> str:
    named = [
        f"the {kind} {name}"
        for kind, name in (("policy", found.policy), ("operator policy", found.operator_policy))
        if name
    ]
    return " or ".join(named) or "a policy"
