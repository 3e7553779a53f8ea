"""What to do about an entity that stands otherwise than the topology says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stem_amqp.topology.policies import changeable
from stem_amqp.topology.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.provision.inventory import FoundQueue
    from stem_amqp.provision.plan import Detail
    from stem_amqp.topology.entities import Exchange, Queue
    from stem_amqp.topology.names import Names

LOWER_WINS: Mapping[str, str] = {
    "x-message-ttl": "message-ttl",
    "x-max-length": "max-length",
    "x-max-length-bytes": "max-length-bytes",
    "x-delivery-limit": "delivery-limit",
    "x-expires": "expires",
}
"""Arguments beside which a policy has a say: the lower of the two values counts.
https://www.rabbitmq.com/docs/parameters#operator-policy-conflicts"""
_DURATIONS = frozenset({"message-ttl", "expires"})


def exchange_remedy(exchange: Exchange) -> str:
    """Say what to do about an exchange that differs."""
    return (
        "RabbitMQ cannot change an exchange. Delete it when nothing publishes to it"
        f" (rabbitmqadmin delete exchange name={exchange.name}), and apply again."
    )


def queue_remedy(queue: Queue, file: Path | str) -> str:
    """Say what to do about a queue that differs, where no policy can help.

    Args:
        queue: the queue as it is wanted.
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
    """Say how a policy makes a queue's migration needless, or the next one; nothing if none does.

    A policy takes effect beside the arguments where it sets what they do not, or a lower limit.

    Args:
        details: what differs.
        queue: the queue as it is wanted.
        found: the queue as it is.
        names: the names in the namespace.
    """
    differing = tuple(details)
    as_arguments = any(changeable(key) for key in queue.arguments)
    if not as_arguments or not all(changeable(one.key) for one in differing):
        return ""
    keys = ", ".join(one.key.removeprefix("x-") for one in differing)
    if not all(_works_beside(one, queue, found) for one in differing):
        return f"With settings: policies in the file, the next change of {keys} is an apply."
    content = ", ".join(
        f"{LOWER_WINS[one.key]}: {_written(LOWER_WINS[one.key], queue.arguments[one.key])}"
        for one in differing
    )
    begun = "Or no migration: keep the queue's old values in the file, and "
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
    """Write a value as the file has it: durations with their unit."""
    if key not in _DURATIONS:
        return str(value)
    return f"{value // 1000}s" if value % 1000 == 0 else f"{value}ms"
