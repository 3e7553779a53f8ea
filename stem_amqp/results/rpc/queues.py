"""The queues of a group."""

from __future__ import annotations

import math
from typing import Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names

_SLACK = 10.0
"""Seconds by which a queue outlives the group, so that the state decides when the group expires."""
_LONGEST_EXPIRY_MS = 2**32 - 1
_NAME_LIMIT = 255


def group_queues(names: Names, group_id: str, ttl: float) -> Entities:
    """Return the queues of a group's state and of its members' results.

    Args:
        names: the names on the broker.
        group_id: the group.
        ttl: seconds for which the group is kept.
    """
    arguments = {**_arguments(ttl), "x-single-active-consumer": True}
    both = (names.group(group_id), names.group_values(group_id))
    return Entities(queues=tuple(Queue(name=name, arguments=arguments) for name in both))


def claim_queue(names: Names, group_id: str, claimant: str, ttl: float) -> Queue:
    """Return the queue that says who has claimed a group.

    Args:
        names: the names on the broker.
        group_id: the group.
        claimant: who claims it.
        ttl: seconds for which the group is kept.
    """
    return Queue(
        name=names.group_claim(group_id),
        arguments={
            **_arguments(ttl),
            # Nothing is ever dead-lettered from this queue: its arguments carry the claimant.
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": claimant,
        },
    )


def check_name(names: Names, group_id: str) -> None:
    """Check that RabbitMQ accepts the names of a group's queues.

    Raises:
        ConfigurationError: a name is too long.
    """
    size = len(names.group_values(group_id).encode())
    if size > _NAME_LIMIT:
        raise ConfigurationError(
            f"the group id {group_id!r} is too long: its queue's name has {size} bytes, and"
            f" RabbitMQ takes {_NAME_LIMIT}.\n  Use a shorter id, such as a UUID."
        )


def _arguments(ttl: float) -> dict[str, Any]:
    expires = min(math.ceil((ttl + _SLACK) * 1000), _LONGEST_EXPIRY_MS)
    return {"x-queue-type": "classic", "x-expires": expires}
