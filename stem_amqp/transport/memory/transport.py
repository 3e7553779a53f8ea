"""The transport to the in-memory broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from stem_amqp.clock import Clock
from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.base import (
    Binding,
    BrokerInfo,
    ConnectionChange,
    Delivery,
    OnDelivery,
    OnMissing,
    Publication,
    QueueStatus,
    Transport,
)
from stem_amqp.transport.memory import declare
from stem_amqp.transport.memory.broker import MemoryBroker
from stem_amqp.transport.memory.channel import Browser
from stem_amqp.transport.memory.consumer import MemoryConsumer, MemorySubscription
from stem_amqp.transport.memory.link import Link

_SCHEME = "memory://"
_DEFAULT_NAME = "default"
_PUBLISHES_PER_TURN = 16
"""After so many publishes the event loop gets its turn, so that consumers keep up."""


class MemoryTransport(Transport):
    """The way to a broker in the same process.

    Args:
        broker: the broker.
        name: the connection's name, used in logs.
        connect_timeout: seconds to wait for a connection.
        publish_timeout: seconds in which a publish must be confirmed.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        name: str = "stem-amqp",
        connect_timeout: float = 10.0,
        publish_timeout: float = 10.0,
    ) -> None:
        self.broker = broker
        self.clock = broker.clock
        self.name = name
        self._publish_timeout = publish_timeout
        self._published = 0
        self._link = self._make_link(
            name=name,
            connect_timeout=connect_timeout,
            report=self._report,
            redeclare=lambda: self.redeclare,
        )

    def _make_link(self, **options: Any) -> Link:
        return Link(self.broker, **options)

    @classmethod
    def from_url(cls, url: str, *, clock: Clock | None = None, **options: Any) -> Self:
        """Return a transport to the broker of that name in this process.

        Args:
            url: ``memory://`` or ``memory://name``; the same URL is the same broker.
            clock: the time that the broker measures with; see `MemoryBroker.named`.
            **options: as the class takes them.

        Raises:
            ConfigurationError: it is another kind of URL.
        """
        if not url.startswith(_SCHEME):
            raise ConfigurationError("the in-memory broker's URL is memory:// or memory://name")
        name = url.removeprefix(_SCHEME).strip("/") or _DEFAULT_NAME
        return cls(MemoryBroker.named(name, clock), **options)

    async def connect(self) -> BrokerInfo:
        """Open the connection; opening it twice is no error.

        Raises:
            BrokerUnavailableError: the broker is in an outage.
            ConfigurationError: another event loop uses the broker.
        """
        await self._link.open()
        return self.broker.info

    async def close(self) -> None:
        """Close everything; closing twice is no error."""
        await self._link.close()

    async def publish(self, publication: Publication) -> None:
        """Publish; the confirm is immediate.

        Raises:
            UnroutableError: no queue took it.
            PublishRefusedError: a full queue refused it.
            UnwritableError: it cannot be written as AMQP.
            PublishTimeoutError: the broker is paused for longer than the publish timeout.
            BrokerUnavailableError: there is no connection, within the publish timeout.
        """
        self._published += 1
        if self._published % _PUBLISHES_PER_TURN == 0:
            # before the message is sent, so that a cancelled publish has not happened
            await asyncio.sleep(0)
        if self._link.connection is None or not self.broker.is_running:
            await self._link.running(self._publish_timeout)
        self.broker.publish(publication)

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        tag: str,
        exclusive: bool = False,
        on_missing: OnMissing | None = None,
    ) -> MemoryConsumer:
        """Start to consume a queue.

        Raises:
            TopologyMissingError: there is no such queue, and `redeclare` could not bring it.
            BrokerRefusedError: the queue is in exclusive use.
            BrokerUnavailableError: there is no connection.
        """
        consumer = self._make_consumer(
            queue,
            on_delivery,
            prefetch=prefetch,
            tag=tag,
            exclusive=exclusive,
            on_missing=on_missing,
        )
        await self._link.begin(consumer)
        return consumer

    def _make_consumer(self, queue: str, on_delivery: OnDelivery, **options: Any) -> MemoryConsumer:
        link = self._link
        return MemoryConsumer(
            queue, on_delivery, on_lost=link.heal, on_close=link.forget, **options
        )

    @asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[AsyncIterator[Delivery]]:
        """Look through a queue from its head; what is not settled goes back.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        connection = await self._link.connected()
        channel = connection.channel(queue, tag=f"{self.name}.browse")

        try:
            yield Browser(channel)
        finally:
            connection.close_channel(channel)

    @asynccontextmanager
    async def subscribe(
        self,
        name: str,
        on_delivery: OnDelivery,
        *,
        expires: float | None = None,
        exchange: str | None = None,
        on_renamed: Callable[[str], None] | None = None,
    ) -> AsyncIterator[str]:
        """Have an exclusive queue for replies.

        Args:
            name: the queue's name.
            on_delivery: called for each delivery, which is settled already.
            expires: not needed here: the queue ends with its connection.
            exchange: bind it to this fanout exchange, to get what everybody gets.
            on_renamed: never called: no name stays locked here.
        """
        del expires, on_renamed
        subscription = MemorySubscription(
            name,
            on_delivery,
            exchange=exchange,
            on_lost=self._link.heal,
            on_close=self._link.forget,
            prefetch=0,
            tag=f"{self.name}.{name}",
        )
        await self._link.begin(subscription)
        try:
            yield name
        finally:
            await subscription.close()

    async def declare(self, entities: Entities) -> None:
        """Declare everything that is missing; what is there already must be the same.

        Raises:
            TopologyMismatchError: something is there with other arguments.
            TopologyMissingError: a binding's source or destination is not there.
        """
        connection = await self._link.connected()
        declare.declare(connection.engine, entities)

    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        """Return the exchanges and queues that are not there."""
        connection = await self._link.connected()
        return declare.missing(connection.engine.router, entities)

    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        """Return the status of each queue; None for one that is not there."""
        known = (await self._link.connected()).engine.router.queues
        return {
            name: QueueStatus(
                name=name, ready=known[name].ready, consumers=len(known[name].consumers)
            )
            if name in known
            else None
            for name in queues
        }

    async def purge(self, queue: str) -> int:
        """Drop every ready message of a queue, and return how many.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        connection = await self._link.connected()
        return connection.engine.purge(connection.queue(queue))

    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        """Add bindings and take others away in one step.

        Args:
            bind: what to add.
            unbind: what to take away; what is not there is no error.

        Raises:
            TopologyMissingError: a source or destination of a new binding is not there.
        """
        connection = await self._link.connected()
        declare.rebind(connection.engine, bind, unbind)

    async def delete(self, entities: Entities) -> None:
        """Delete exchanges and queues with all that is in them; what is not there is no error."""
        connection = await self._link.connected()
        declare.delete(connection.engine, entities)

    def _report(self, change: ConnectionChange) -> None:
        if self.on_connection_change is not None:
            self.on_connection_change(change)
