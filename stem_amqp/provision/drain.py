"""Observe how an unbound queue drains, and move its messages if no worker consumes them."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.errors import ManagementError
from stem_amqp.management import Management
from stem_amqp.messages.headers import RESERVED_PREFIXES
from stem_amqp.messages.message import copied_headers
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery, same_message
from stem_amqp.transport.publication import Publication

STATISTICS_AGE = 16.0
"""Seconds after which the management API's statistics are certainly newer than the last unbinding: a
queue emits them every 5 s, they are collected every 5 s, and cached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """The messages in a queue that is being drained.

    Args:
        ready: ready messages, up to date.
        consumers: the number of consumers.
        unsettled: messages delivered to consumers; None if not known.
        dead_lettering: messages on their way to the dead-letter queue; None if not known.
        delayed: messages that the queue itself delays; None if not known.
    """

    ready: int
    consumers: int
    unsettled: int | None = None
    dead_lettering: int | None = None
    delayed: int | None = None

    @property
    def known(self) -> bool:
        """Whether all numbers are known."""
        return self.unsettled is not None

    @property
    def total(self) -> int:
        """The sum of the known numbers."""
        return self.ready + (self.unsettled or 0) + (self.dead_lettering or 0) + (self.delayed or 0)

    def __str__(self) -> str:
        numbers = {
            "ready": self.ready,
            "with workers": self.unsettled,
            "being dead-lettered": self.dead_lettering,
            "delayed": self.delayed,
        }
        parts = [f"{number} {what}" for what, number in numbers.items() if number]
        return ", ".join(parts) or "empty"


async def content(transport: Transport, management: Management | None, name: str) -> Content | None:
    """Return the messages in a queue; None if the queue does not exist.

    Args:
        transport: connected.
        management: the management API, for the numbers that AMQP does not provide.
        name: the queue's name.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    found = (await transport.status([name]))[name]
    if found is None:
        return None
    bare = Content(ready=found.ready, consumers=found.consumers)
    if management is None:
        return bare
    try:
        statistics = await management.get("queues", management.virtual_host, name)
        unsettled = int(statistics["messages_unacknowledged"])
        ready = int(statistics["messages_ready"])
    except (ManagementError, KeyError, TypeError, ValueError):
        return bare  # no statistics at this time; the next call may have them
    return Content(
        # The two numbers are of different times; the larger one is the safer one
        ready=max(found.ready, ready),
        consumers=found.consumers,
        unsettled=unsettled,
        dead_lettering=int(statistics.get("messages_dlx") or 0),
        delayed=int(statistics.get("messages_delayed") or 0),
    )


async def move_messages(
    transport: Transport, name: str, target: str, *, deaths: bool = False
) -> int:
    """Move the ready messages of a queue to another one; each is confirmed before it is removed.

    Body, properties and headers are kept, except for headers written by RabbitMQ.

    Args:
        transport: connected.
        name: the source queue.
        target: the target queue.
        deaths: whether to keep RabbitMQ's ``x-death`` records too. They say why a letter is dead; as a
            dead-letter queue has no dead-letter exchange, RabbitMQ cannot mistake them for a cycle.

    Returns:
        The number of moved messages.

    Raises:
        PublishError: the target accepts no more messages; the message stays in the source.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    moved = 0
    async with transport.browse(name) as deliveries:
        async for delivery in deliveries:
            await transport.replace(delivery, _copy(delivery, target, deaths))
            moved += 1
    return moved


def _copy(delivery: Delivery, target: str, deaths: bool) -> Publication:
    headers = copied_headers(delivery.headers)
    if deaths:
        records = {n: v for n, v in delivery.headers.items() if n.startswith(RESERVED_PREFIXES)}
        headers |= records
    return same_message(delivery, exchange="", routing_key=target, headers=headers)
