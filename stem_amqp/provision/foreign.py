"""Tell the names of a namespace from those of another one with the same prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stem_amqp.topology.names import Names

if TYPE_CHECKING:
    from stem_amqp.provision.inventory import Inventory

PASSING = ("reply", "group", "control")
"""First words of the names of temporary entities of processes and groups of tasks."""


def is_of_this_namespace(names: Names, inventory: Inventory) -> Callable[[str], bool]:
    """Return a function that returns whether a name belongs to this namespace.

    ``stem.staging.orders`` may be a queue of the namespace ``stem`` or of ``stem.staging``. It belongs
    to the latter if the exchanges of that namespace exist.

    Args:
        names: the names in the namespace.
        inventory: the entities on the broker.
    """
    prefix = names.namespace + "."
    inner = [
        other.namespace + "."
        for other in (
            Names(name.removesuffix(".tasks"))
            for name in inventory.exchanges
            if name.startswith(prefix) and name.endswith(".tasks")
        )
        if other != names and {other.dead, other.deliver} <= inventory.exchanges.keys()
    ]
    passing = tuple(f"{prefix}{word}" for word in PASSING)

    def ours(name: str) -> bool:
        if not name.startswith(prefix) or name.startswith(tuple(inner)):
            return False
        return not any(name == word or name.startswith(word + ".") for word in passing)

    return ours
