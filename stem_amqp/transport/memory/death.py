"""Dead-lettering: the ``x-death`` headers, and detection of cycles.

Where RabbitMQ's releases differ, this follows the stricter ones up to 3.13, which accept an ``x-death``
header of a client as their own: what works here works on later releases too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from stem_amqp.transport.memory.message import Message


class Reason(StrEnum):
    """Why a queue dead-lettered a message."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"


def dead_letter(
    message: Message, *, queue: str, reason: Reason, exchange: str, routing_key: str, now: float
) -> Message:
    """Return a message as it is published to a dead-letter exchange.

    Args:
        message: the message in the queue.
        queue: the queue that dead-letters it.
        reason: the reason.
        exchange: the dead-letter exchange.
        routing_key: its new routing key.
        now: seconds since the epoch.
    """
    headers = dict(message.headers)
    headers["x-death"] = _deaths(message, queue, reason, now)
    origin = (("reason", reason.value), ("queue", queue), ("exchange", message.exchange))
    for name, value in origin:
        headers.setdefault(f"x-first-death-{name}", value)
        headers[f"x-last-death-{name}"] = value
    return message._replace(headers=headers, exchange=exchange, routing_key=routing_key)


def is_cycle(message: Message, target: str) -> bool:
    """Return whether a dead letter would return to a queue without a rejection by a consumer.

    Such a message is not routed there again, since it would circulate for ever. With a rejection on its
    path it is not a cycle, because a consumer intended it.

    Args:
        message: the dead letter, its last death included.
        target: the queue that it would go to.
    """
    for death in _recorded(message):
        if death.get("reason") == Reason.REJECTED:
            return False
        if death.get("queue") == target:
            return True
    return False


def _recorded(message: Message) -> list[dict[str, Any]]:
    deaths = message.headers.get("x-death")
    return [one for one in deaths if isinstance(one, dict)] if isinstance(deaths, list) else []


def _deaths(message: Message, queue: str, reason: Reason, now: float) -> list[dict[str, Any]]:
    """Return the deaths, newest first, one for each queue and reason."""
    death: dict[str, Any] = {
        "count": 0,
        "reason": reason.value,
        "queue": queue,
        "time": datetime.fromtimestamp(int(now), UTC),
        "exchange": message.exchange,
        "routing-keys": [message.routing_key],
    }
    others = []
    for earlier in _recorded(message):
        if earlier.get("queue") == queue and earlier.get("reason") == reason:
            death = dict(earlier)
        else:
            others.append(earlier)
    count = death.get("count")
    death["count"] = count + 1 if isinstance(count, int) else 1
    return [death, *others]
