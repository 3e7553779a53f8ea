"""Holding queues: delayed messages for a work queue that can be full wait there for room.

A queue that dead-letters at-least-once keeps messages that its target refuses, and after 32 of them it
dead-letters nothing else. All queues share the delay queues, so no target of theirs may refuse a message:
a delay for a work queue that can be full ends in that queue's own holding queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stem_amqp.delay import delivery_key, due_key
from stem_amqp.topology.delays import AT_LEAST_ONCE, parking
from stem_amqp.topology.entities import Policy, Queue
from stem_amqp.topology.names import Names, due_word
from stem_amqp.topology.policies import effective

_LENGTHS = frozenset({"x-max-length", "x-max-length-bytes"})
_REFUSING = frozenset({"reject-publish", "reject-publish-dlx"})


def can_refuse(queue: Queue, policies: Iterable[Policy]) -> bool:
    """Return whether a queue refuses messages when it is full.

    Args:
        queue: the queue, with all its settings as arguments.
        policies: the policies of the virtual host.
    """
    return refuses_when_full(effective(queue, policies))


def refuses_when_full(settings: Mapping[str, Any]) -> bool:
    """Return whether a queue with these settings, as arguments, refuses messages when it is full."""
    return bool(_LENGTHS & settings.keys()) and settings.get("x-overflow") in _REFUSING


def holding_queue(names: Names, logical: str) -> Queue:
    """Return the queue in which messages that are due for a full work queue wait for room.

    It dead-letters its messages at once to the exchange where delays end, with the work queue's key.
    It therefore does not change when the work queue gets another version.

    Args:
        names: the names in the namespace.
        logical: the logical queue.
    """
    arguments = parking() | {
        "x-message-ttl": 0,
        "x-dead-letter-exchange": names.deliver,
        "x-dead-letter-routing-key": due_key(logical),
        **AT_LEAST_ONCE,
    }
    return Queue(name=names.due(logical), arguments=arguments)


def holding_key(logical: str) -> str:
    """Return the topic pattern that binds a holding queue to the exchange where delays end."""
    return delivery_key(due_word(logical))
