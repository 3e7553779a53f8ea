"""The transport to the in-memory broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.errors import ConfigurationError, PublishRefusedError, UnroutableError
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.base import BrokerInfo, ConnectionChange, OnMissing, QueueStatus, Transport
from stem_amqp.transport.delivery import Delivery, OnDelivery
from stem_amqp.transport.memory import declare
from stem_amqp.transport.memory.broker import MemoryBroker
from stem_amqp.transport.memory.channel import Browser
from stem_amqp.transport.memory.consumer import MemoryConsumer, MemorySubscription
from stem_amqp.transport.memory.link import Link
from stem_amqp.transport.publication import Publication

_SCHEME = "memory://"
_DEFAULT_NAME = "default"
_PUBLISHES_PER_TURN = 16
"""Publishes after which the event loop gets a turn, so that consumers keep up."""


class MemoryTransport(Transport):
    """The transport to a broker in the same process.

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
        """Return a transport to a named broker in this process.

        Args:
            url: ``memory://`` or ``memory://name``; equal URLs name the same broker.
            clock: the broker's clock; see `MemoryBroker.named`.
            **options: the other arguments of the class.

        Raises:
            ConfigurationError: the URL is not valid.
        """
        if not url.startswith(_SCHEME):
            raise ConfigurationError("the in-memory broker's URL is memory:// or memory://name")
        name = url.removeprefix(_SCHEME).strip("/") or _DEFAULT_NAME
        return cls(MemoryBroker.named(name, clock), **options)

    @override
    async def connect(self) -> BrokerInfo:
        """Open the connection; a second call does nothing.

        Raises:
            BrokerUnavailableError: the broker is in an outage.
            ConfigurationError: another event loop uses the broker.
        """
        await self._link.open()
        return self.broker.info

    @override
    async def close(self) -> None:
        await self._link.close()

    @override
    async def publish(self, publication: Publication) -> None:
        """Publish; the confirm is immediate.

        Raises:
            UnroutableError: it matches no queue.
            PublishRefusedError: a full queue refused it.
            UnwritableError: it cannot be encoded as AMQP.
            PublishTimeoutError: the broker is paused for longer than the publish timeout.
            BrokerUnavailableError: no connection within the publish timeout.
        """
        self._published += 1
        if self._published % _PUBLISHES_PER_TURN == 0:
            # before routing, so that a cancelled publish has no effect
            await asyncio.sleep(0)
        if self._link.connection is None or not self.broker.is_running or not self._link.here:
            await self._link.running(self._publish_timeout)
        try:
            self.broker.publish(publication)
        except UnroutableError as error:
            if self.restorer is None:
                raise
            await self.restorer.publish_again(
                publication,
                error,
                lambda: self._publish_once_more(publication),
                deadline=asyncio.get_running_loop().time() + self._publish_timeout,
            )

    @override
    def send(self, publication: Publication) -> bool:
        link = self._link
        if link.connection is None or not self.broker.is_running or not link.here:
            return False
        with suppress(UnroutableError, PublishRefusedError):
            # not through the broker's own method: faults that tests simulate are for tasks
            self.broker.engine.publish(publication)
        return True

    async def _publish_once_more(self, publication: Publication) -> None:
        self.broker.publish(publication)

    @override
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
            queue, on_delivery, on_lost=link.recover, on_close=link.forget, **options
        )

    @override
    @asynccontextmanager
    async def browse(self, queue: str) -> AsyncIterator[AsyncIterator[Delivery]]:
        connection = await self._link.connected()
        channel = connection.channel(queue, tag=f"{self.name}.browse")

        try:
            yield Browser(channel)
        finally:
            connection.close_channel(channel)

    @override
    @asynccontextmanager
    async def subscribe(
        self,
        name: str,
        on_delivery: OnDelivery,
        *,
        expires: float | None = None,
        exchange: str | None = None,
        keys: Sequence[str] = ("",),
        limit: int | None = None,
        on_renamed: Callable[[str], None] | None = None,
    ) -> AsyncIterator[str]:
        # The queue is deleted with its connection, and no name remains locked; its consumer is this
        # process, so that it stays short
        del expires, limit, on_renamed
        subscription = MemorySubscription(
            name,
            on_delivery,
            exchange=exchange,
            keys=keys,
            on_lost=self._link.recover,
            on_close=self._link.forget,
            prefetch=0,
            tag=f"{self.name}.{name}",
        )
        await self._link.begin(subscription)
        try:
            yield name
        finally:
            await subscription.close()

    @override
    async def declare(self, entities: Entities) -> None:
        connection = await self._link.connected()
        declare.declare(connection.engine, entities)

    @override
    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        connection = await self._link.connected()
        return declare.missing(connection.engine.router, entities)

    @override
    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        known = (await self._link.connected()).engine.router.queues
        return {
            name: QueueStatus(
                name=name, ready=known[name].ready, consumers=len(known[name].consumers)
            )
            if name in known
            else None
            for name in queues
        }

    @override
    async def purge(self, queue: str) -> int:
        connection = await self._link.connected()
        return connection.engine.purge(connection.queue(queue))

    @override
    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        connection = await self._link.connected()
        declare.rebind(connection.engine, bind, unbind)

    @override
    async def delete(self, entities: Entities) -> None:
        connection = await self._link.connected()
        declare.delete(connection.engine, entities)

    def _report(self, change: ConnectionChange) -> None:
        if self.on_connection_change is not None:
            self.on_connection_change(change)
