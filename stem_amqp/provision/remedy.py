"""Remedies for entities that differ from the topology. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stem_amqp.topology.policies import changeable
from stem_amqp.topology.spec.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.provision.inventory import FoundQueue
    from stem_amqp.provision.step import Detail
    from stem_amqp.topology.entities import Exchange, Queue
    from stem_amqp.topology.names import Names

LOWER_WINS: Mapping[str, str] = {
    "x-message-ttl": "message-ttl",
    "x-max-length": "max-length",
    "x-max-length-bytes": "max-length-bytes",
    "x-delivery-limit": "delivery-limit",
    "x-expires": "expires",
}
"""Arguments that a policy can lower: the lower of the two values is in force.
https://www.rabbitmq.com/docs/parameters#operator-policy-conflicts"""
_DURATIONS = frozenset({"message-ttl", "expires"})


def exchange_remedy(exchange: Exchange) -> str:
    """Return the remedy for an exchange that differs."""
    return (
        "RabbitMQ cannot change an exchange. Delete it while nothing publishes to it"
        f" (rabbitmqadmin delete exchange name={exchange.name}), and apply again."
    )


def queue_remedy(queue: Queue, file: Path | str) -> str:
    """Return the remedy for a queue that differs, if no policy can help.

    Args:
        queue: the wanted queue.
        file: the topology file, for the command.
    """
    if queue.logical is None:
        return (
            "RabbitMQ cannot change a queue. Delete it when it is empty, and apply again:"
            f" rabbitmqctl delete_queue {queue.name}"
        )
    named = f" {file}" if file else ""
    return f"RabbitMQ cannot change a queue. stem-amqp topology migrate{named} -Q {queue.logical}"


def by_policy(details: Iterable[Detail], queue: Queue, found: FoundQueue, names: Names) -> str:
    """Return how a policy avoids this or the next migration of a queue; an empty string if none can.

    A policy has an effect in addition to the arguments if it sets what they do not, or a lower limit.

    Args:
        details: the differing values.
        queue: the wanted queue.
        found: the existing queue.
        names: the names in the namespace.
    """
    differing = tuple(details)
    as_arguments = any(changeable(key) for key in queue.arguments)
    if not as_arguments or not all(changeable(one.key) for one in differing):
        return ""
    keys = ", ".join(one.key.removeprefix("x-") for one in differing)
    if not all(_works_beside(one, queue, found) for one in differing):
        return (
            f"With settings: policies in the file, the next change of {keys} needs only an apply."
        )
    content = ", ".join(
        f"{LOWER_WINS[one.key]}: {_written(LOWER_WINS[one.key], queue.arguments[one.key])}"
        for one in differing
    )
    begun = "Without a migration: keep the queue's old values in the file, and "
    if found.policy:
        return f"{begun}add to the policy {found.policy}, which is in force: {content}"
    rest = queue.name.removeprefix(names.namespace)
    pattern = f"^{NAMESPACE}{re.escape(rest).replace(chr(92) + '.', '[.]')}$"
    return (
        f"{begun}apply a policy:\n"
        f"  policies: {{'{NAMESPACE}{rest}': {{pattern: '{pattern}', definition: {{{content}}}}}}}"
    )


def _works_beside(detail: Detail, queue: Queue, found: FoundQueue) -> bool:
    wanted, current = queue.arguments.get(detail.key), found.arguments.get(detail.key)
    if detail.key not in LOWER_WINS or not isinstance(wanted, int):
        return False
    return current is None or (isinstance(current, int) and wanted < current)


def _written(key: str, value: int) -> str:
    """Format a value for the topology file: durations with their unit."""
    if key not in _DURATIONS:
        return str(value)
    return f"{value // 1000}s" if value % 1000 == 0 else f"{value}ms"
