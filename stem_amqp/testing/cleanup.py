"""Delete the exchanges and queues that a test declared on the broker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError

from stem_amqp.errors import BrokerError, BrokerUnavailableError
from stem_amqp.text import redacted

CHANNELS = 8
"""Concurrent deletions: each channel does one at a time."""
CONNECT_TIMEOUT = 10.0

Entity = tuple[Literal["exchange", "queue"], str]


@dataclass(kw_only=True, slots=True)
class Namespace:
    """A namespace of one test, and what the test declared in it.

    Args:
        name: such as ``t-1a2b3c4d``.
        exchanges: names of exchanges to delete after the test.
        queues: names of queues to delete after the test.
    """

    name: str
    exchanges: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)

    def delete_later(self, *, exchanges: Iterable[str] = (), queues: Iterable[str] = ()) -> None:
        """Add names to delete after the test, such as those of a compiled topology.

        Args:
            exchanges: full names of exchanges.
            queues: full names of queues.
        """
        self.exchanges.update(exchanges)
        self.queues.update(queues)


async def delete_namespace(
    url: str, exchange_names: Iterable[str], queue_names: Iterable[str]
) -> None:
    """Delete exchanges and queues with everything in them.

    A name that does not exist counts as deleted. A name that cannot be deleted does not stop the others.

    Args:
        url: the broker's AMQP URL.
        exchange_names: full names of exchanges.
        queue_names: full names of queues.

    Raises:
        BrokerError: the broker refused to delete something, such as a queue that another
            connection holds exclusively; the message names each.
    """
    exchanges: deque[Entity] = deque(("exchange", name) for name in sorted(exchange_names))
    queues: deque[Entity] = deque(("queue", name) for name in sorted(queue_names))
    if not exchanges and not queues:
        return
    refused: list[str] = []
    try:
        connection = await aio_pika.connect(url, timeout=CONNECT_TIMEOUT)
    except (OSError, AMQPError) as error:
        raise BrokerUnavailableError(f"cannot clean up on {redacted(url)}: {error}") from error
    async with connection:
        # Exchanges first: without its queue an exchange would route messages elsewhere. One by one:
        # RabbitMQ 3.10 crashes if two exchanges that are bound to each other are deleted at once.
        await _delete(connection, exchanges, refused)
        async with asyncio.TaskGroup() as deleting:
            for _ in range(min(CHANNELS, len(queues))):
                deleting.create_task(_delete(connection, queues, refused))
    if refused:
        raise BrokerError("could not delete:\n" + "\n".join(f"  - {line}" for line in refused))


async def _delete(
    connection: AbstractConnection, entities: deque[Entity], refused: list[str]
) -> None:
    while entities:
        # A refusal closes the channel: the outer loop continues with a new one.
        async with connection.channel() as channel:
            await _delete_until_refused(channel, entities, refused)


async def _delete_until_refused(
    channel: AbstractChannel, entities: deque[Entity], refused: list[str]
) -> None:
    while entities:
        kind, name = entities.popleft()
        try:
            if kind == "exchange":
                await channel.exchange_delete(name)
            else:
                await channel.queue_delete(name)
        except AMQPError as error:
            refused.append(f"{kind} {name!r}: {error}")
            return
