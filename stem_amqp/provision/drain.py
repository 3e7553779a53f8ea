"""Waits until a queue that nothing is routed to any more is empty, and helps where nobody consumes."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.errors import ManagementError
from stem_amqp.headers import RESERVED_PREFIXES
from stem_amqp.management import Management
from stem_amqp.message import carried_headers
from stem_amqp.transport.base import Delivery, Publication, Transport
from stem_amqp.transport.forward import same_message

STATISTICS_AGE = 16.0
"""Seconds after which the management API's numbers are surely younger than the last binding: a queue
tells of itself every 5 s, which is collected every 5 s, and kept a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What is in a queue that is being drained.

    Args:
        ready: what no consumer has; of this moment.
        consumers: how many consume it.
        unsettled: what consumers have; None if nobody tells.
        dead_lettering: what is on its way to the dead-letter queue; None if nobody tells.
        delayed: what the queue itself holds back; None if nobody tells.
    """

    ready: int
    consumers: int
    unsettled: int | None = None
    dead_lettering: int | None = None
    delayed: int | None = None

    @property
    def known(self) -> bool:
        """Whether all of it is known."""
        return self.unsettled is not None

    @property
    def total(self) -> int:
        """All that is known to be in it."""
        return self.ready + (self.unsettled or 0) + (self.dead_lettering or 0) + (self.delayed or 0)

    def __str__(self) -> str:
        numbers = {
            "ready": self.ready,
            "with workers": self.unsettled,
            "being dead-lettered": self.dead_lettering,
            "held back": self.delayed,
        }
        told = [f"{number} {what}" for what, number in numbers.items() if number]
        return ", ".join(told) or "empty"


async def content(transport: Transport, management: Management | None, name: str) -> Content | None:
    """Return what is in a queue; None if the queue is not there.

    Args:
        transport: connected.
        management: who knows what AMQP does not tell.
        name: the queue's name.

    Raises:
        BrokerError: the broker cannot be reached, or refuses.
    """
    found = (await transport.status([name]))[name]
    if found is None:
        return None
    bare = Content(ready=found.ready, consumers=found.consumers)
    if management is None:
        return bare
    try:
        told = await management.get("queues", management.virtual_host, name)
        unsettled, ready = int(told["messages_unacknowledged"]), int(told["messages_ready"])
    except (ManagementError, KeyError, TypeError, ValueError):
        return bare  # without statistics yet, or any more: the next look may know
    return Content(
        # the newer number may be the smaller one, and the older one is the safer one
        ready=max(found.ready, ready),
        consumers=found.consumers,
        unsettled=unsettled,
        dead_lettering=int(told.get("messages_dlx") or 0),
        delayed=int(told.get("messages_delayed") or 0),
    )


async def carry_over(transport: Transport, name: str, target: str, *, deaths: bool = False) -> int:
    """Take what is ready in a queue over to another one, each confirmed before it is given up.

    Body, properties and headers stay as they are, without what RabbitMQ wrote on their way.

    Args:
        transport: connected.
        name: the queue that is drained.
        target: the queue to put it into.
        deaths: keep RabbitMQ's death records too. A dead-letter queue has no dead-letter exchange, so that
            they cannot be taken for a cycle there, and they say why a letter is dead.

    Returns:
        How many messages were taken over.

    Raises:
        PublishError: the target takes no more; the message stays where it was.
        BrokerError: the broker cannot be reached, or refuses.
    """
    moved = 0
    async with transport.browse(name) as deliveries:
        async for delivery in deliveries:
            await transport.replace(delivery, _as_it_is(delivery, target, deaths))
            moved += 1
    return moved


def _as_it_is(delivery: Delivery, target: str, deaths: bool) -> Publication:
    headers = carried_headers(delivery.headers)
    if deaths:
        records = {n: v for n, v in delivery.headers.items() if n.startswith(RESERVED_PREFIXES)}
        headers |= records
    return same_message(delivery, exchange="", routing_key=target, headers=headers)
