"""Which scheduler leads: the one that holds messages of the queue of schedulers.

The queue has a single active consumer. Every scheduler consumes it, and publishes a message to it at its start and
from time to time. RabbitMQ delivers all of them to one consumer: it leads, and holds at least one unacknowledged
message. When it stops or dies, or its connection is lost, RabbitMQ delivers what it held to the next consumer at once.
If somebody purges or deletes the queue, the next message chooses the leader again.

The held messages also carry a document, in which the schedules' states are stored if the result backend cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from stem_amqp.cancellation import end
from stem_amqp.errors import StaleDeliveryError, StemError
from stem_amqp.topology.names import DOCUMENT_KEY, Names
from stem_amqp.transport.base import Consumer, Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.scheduler")

INTERVAL = 20.0
"""Seconds between two messages of a scheduler. RabbitMQ's consumer timeout, 30 minutes by default, is longer."""
ARRIVAL = 10.0
"""Seconds within which the leader receives what it publishes; otherwise it leads no more."""
PREFETCH = 1000
MANY = 100
"""Held messages from which on those that store nothing are acknowledged at once, all but the last one.

A thousand changes publish a thousand messages between two renewals. If all of them were held, the leader would receive
nothing more, not even its own messages.
"""
TYPE = "stem.schedules"
"""AMQP ``type`` of the messages."""
POKE = b"{}"
"""The document of a message that stores nothing."""


class Leadership:
    """The part of one scheduler in the election.

    Args:
        transport: the broker.
        names: the names on it.
        tag: the consumer tag, which the management UI shows.

    Attributes:
        poked: set when another process has published a message, for example because a schedule was changed.
    """

    def __init__(self, transport: Transport, names: Names, tag: str) -> None:
        self.poked = asyncio.Event()
        self._transport = transport
        self._names = names
        self._tag = tag
        self._held: list[Delivery] = []
        self._leads = asyncio.Event()
        self._arrived = asyncio.Event()
        self._many = asyncio.Event()
        self._consumer: Consumer | None = None
        self._document = POKE
        self._turn = asyncio.Lock()

    @property
    def leads(self) -> bool:
        """Whether this scheduler leads now."""
        return self._leads.is_set() and self._consumer is not None and self._consumer.consuming

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take part for a block; what is held then goes to the next scheduler.

        Raises:
            TopologyMissingError: the queue does not exist.
            BrokerError: the broker does not answer, or refuses.
        """
        self._consumer = await self._transport.consume(
            self._names.schedules, self._receive, prefetch=PREFETCH, tag=self._tag
        )
        announcing = asyncio.create_task(self._announce(), name="stem-amqp scheduler election")
        thinning = asyncio.create_task(self._thin_out(), name="stem-amqp scheduler messages")
        try:
            yield
        finally:
            await end(announcing)
            await end(thinning)
            await self._give_up()

    async def wait(self) -> None:
        """Wait until this scheduler leads."""
        await self._leads.wait()

    def documents(self) -> list[bytes]:
        """Return the documents of the held messages; several only after a crash, or of other schedulers."""
        return [delivery.body for delivery in self._held]

    async def keep(self, document: bytes) -> None:
        """Store a document in place of those that are held.

        Args:
            document: JSON.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        self._document = document
        await self._renew()

    async def _renew(self) -> None:
        """Publish the document, and acknowledge what was held before once it is delivered.

        A crash in between leaves both. If it is not delivered, another scheduler is the active consumer.
        """
        async with self._turn:
            before = list(self._held)
            self._arrived.clear()
            await publish(self._transport, self._names, self._document)
            try:
                async with asyncio.timeout(ARRIVAL):
                    await self._arrived.wait()
            except TimeoutError:
                await self.lost()
                return
            await self._settle(before, requeue=False)

    def _receive(self, delivery: Delivery) -> None:
        self._held.append(delivery)
        self._arrived.set()
        self._leads.set()
        self.poked.set()
        if len(self._held) >= MANY:
            self._many.set()

    async def _thin_out(self) -> None:
        """Acknowledge what stores nothing as soon as many messages are held; the last message stays held."""
        while True:
            await self._many.wait()
            self._many.clear()
            surplus = [one for one in self._held[:-1] if one.body == POKE]
            try:
                await self._settle(surplus, requeue=False)
            except StemError as error:
                log.warning(
                    "the scheduler cannot acknowledge messages: %s", str(error).partition("\n")[0]
                )

    async def _announce(self) -> None:
        while True:
            try:
                await (self._renew() if self.leads else publish(self._transport, self._names, POKE))
            except StemError as error:
                log.warning(
                    "the scheduler cannot announce itself: %s", str(error).partition("\n")[0]
                )
            await asyncio.sleep(INTERVAL)

    async def lost(self) -> None:
        """Give up what is held: this scheduler waits again until messages are delivered to it."""
        held = list(self._held)
        self._leads.clear()
        self._document = POKE
        await self._settle(held, requeue=True)

    async def _settle(self, deliveries: list[Delivery], *, requeue: bool) -> None:
        for delivery in deliveries:
            if delivery not in self._held:
                continue  # settled meanwhile
            self._held.remove(delivery)
            with contextlib.suppress(StaleDeliveryError):
                await (delivery.nack(requeue=True) if requeue else delivery.ack())

    async def _give_up(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            # cancelled first, so that what is returned goes to the next scheduler
            await consumer.stop()
            await self.lost()
        finally:
            await consumer.close()


async def publish(transport: Transport, names: Names, document: bytes = POKE) -> None:
    """Publish a message to the schedulers; the leader looks for changes at once.

    Args:
        transport: the broker.
        names: the names on it.
        document: what it stores; nothing by default.

    Raises:
        BrokerError: the broker does not answer, or refuses.
    """
    await transport.publish(
        Publication(
            exchange=names.schedules,
            routing_key=DOCUMENT_KEY,
            body=document,
            type=TYPE,
            content_type="application/json",
            app_id=names.namespace,
        )
    )
