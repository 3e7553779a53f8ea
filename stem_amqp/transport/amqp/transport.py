"""The transport to RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from stem_amqp.clock import SystemClock
from stem_amqp.tls import TlsSource
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.amqp.browser import browse
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import BACK_OFF, Connection, Dialer
from stem_amqp.transport.amqp.consumer import AmqpConsumer
from stem_amqp.transport.amqp.declare import declare, delete, purge, rebind
from stem_amqp.transport.amqp.failures import InterruptedCallError
from stem_amqp.transport.amqp.probe import missing, status
from stem_amqp.transport.amqp.publisher import Publisher
from stem_amqp.transport.amqp.session import Subscription
from stem_amqp.transport.amqp.tasks import SingleFlight
from stem_amqp.transport.amqp.urls import parse_urls
from stem_amqp.transport.base import (
    OTHER_PROPERTIES,
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

logger = logging.getLogger("stem_amqp.transport")

S = TypeVar("S")
T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
"""Seconds to settle, and to say goodbye, before the connections are closed anyway."""


class AmqpTransport(Transport):
    """The way to RabbitMQ.

    Two connections: one publishes, and the other, opened when it is needed, consumes, so that an
    alarm, which stops all that a publishing connection sends, does not stop settling.

    Args:
        urls: the brokers' URLs, tried in this order.
        name: what operators see as the connections' name, with their role.
        namespace: what operators see as the connections' namespace.
        heartbeat: seconds between AMQP heartbeats; a broker silent for two of them is given up.
        connect_timeout: seconds for one attempt at one URL, and for an answer of the broker.
        publish_timeout: seconds in which a publish must be confirmed.
        ssl_context: for ``amqps`` URLs, see `stem_amqp.tls`; None takes the system's authorities.
        server_name: the name to verify in the broker's certificate; None takes the URL's host.

    Raises:
        ConfigurationError: a URL cannot be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str = "stem-amqp",
        namespace: str = "",
        heartbeat: float = 30,
        connect_timeout: float = 10,
        publish_timeout: float = 10,
        ssl_context: TlsSource | None = None,
        server_name: str | None = None,
    ) -> None:
        self.clock = SystemClock()
        dialer = Dialer(
            urls=tuple(url.with_heartbeat(heartbeat) for url in parse_urls(urls)),
            name=name,
            namespace=namespace,
            timeout=connect_timeout,
            ssl_context=ssl_context,
            server_name=server_name,
        )
        self._timeout = connect_timeout
        self._publishing = Connection(dialer, "publishing", self._changed)
        self._consuming = Connection(dialer, "consuming", self._changed)
        self._publisher = Publisher(self._publishing, self.clock, timeout=publish_timeout)
        self._consumers: set[AmqpConsumer] = set()
        self._redeclaring = SingleFlight(self._redeclare, name="stem-amqp redeclare")

    @property
    def largest_headers(self) -> int:
        """Bytes of headers that fit into one frame of the size that the broker agreed on."""
        return self._publishing.frame_max - OTHER_PROPERTIES

    async def connect(self) -> BrokerInfo:
        """Open the publishing connection; connecting twice is no error.

        Raises:
            BrokerUnavailableError: none of the URLs answers, or the transport is closed.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
        """
        return await self._publishing.open()

    async def close(self) -> None:
        """Close everything, within a few seconds; closing twice is no error."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._close_channels()
        except TimeoutError:
            logger.warning("the broker does not answer: connections are cut off")
        await asyncio.gather(self._consuming.close(), self._publishing.close())
        await self._close_channels()  # what was cut short ends at once without a connection

    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's confirm. May be called concurrently.

        A message whose confirm was lost with its connection is published again within the publish
        timeout, so the broker may have it twice.

        Raises:
            UnroutableError: no queue took it.
            PublishRefusedError: the broker nacked it.
            PublishTimeoutError: no confirm within the publish timeout.
            BrokerUnavailableError: there is no connection, within the publish timeout.
            BrokerRefusedError: the user may not publish to the exchange.
        """
        await self._publisher.publish(publication)

    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        tag: str,
        exclusive: bool = False,
        on_missing: OnMissing | None = None,
    ) -> AmqpConsumer:
        """Start to consume a queue on a channel of its own, with per-consumer QoS.

        Raises:
            TopologyMissingError: there is no such queue, and `redeclare` could not bring it.
            BrokerRefusedError: it is in exclusive use, or the user may not read it.
            BrokerUnavailableError: there is no connection.
        """
        subscription = Subscription(
            queue=queue,
            on_delivery=on_delivery,
            tag=tag,
            prefetch=max(1, prefetch),
            exclusive=exclusive,
        )
        return await self._start(subscription, on_missing)

    def browse(self, queue: str) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Look through a queue from its head; what is not settled goes back.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerUnavailableError: there is no connection.
        """
        return self._browse(queue)

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
        """Have an exclusive queue of this process for replies, acknowledged on receipt.

        Args:
            name: the queue's name.
            on_delivery: called for each delivery, which is settled already.
            expires: unused seconds after which the broker may remove it.
            exchange: bind it to this fanout exchange, to get what everybody gets.
            on_renamed: called with its new name.

        Raises:
            BrokerRefusedError: another connection owns a queue of that name.
            BrokerUnavailableError: there is no connection.
        """
        arguments = {} if expires is None else {"x-expires": max(1, round(expires * 1000))}

        def named(queue: str, number: int) -> Subscription:
            async def declare(channel: Channel) -> None:
                await channel.queue_declare(queue, exclusive=True, arguments=dict(arguments))
                if exchange is not None:
                    await channel.queue_bind(queue, exchange)

            def renamed() -> Subscription:
                subscription = named(f"{name}.{number + 1}", number + 1)
                if on_renamed is not None:
                    on_renamed(subscription.queue)
                return subscription

            return Subscription(
                queue=queue,
                on_delivery=on_delivery,
                tag=queue,
                prefetch=0,
                prepare=declare,
                renamed=renamed,
            )

        consumer = await self._start(named(name, 1))
        try:
            yield name
        finally:
            await consumer.close(delete=True)

    async def declare(self, entities: Entities) -> None:
        """Declare everything that is missing; what is there already must be the same.

        Raises:
            TopologyMismatchError: something is there with other arguments.
            TopologyMissingError: a binding's source or destination is not there.
            BrokerRefusedError: the user may not declare it.
            BrokerUnavailableError: there is no connection.
        """
        await self._ask(declare, entities)

    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        """Return the exchanges and queues that are not there. Bindings cannot be asked for.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        return await self._ask(missing, entities)

    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        """Return the status of each queue; None for one that is not there.

        Raises:
            BrokerUnavailableError: there is no connection.
        """
        names = tuple(queues)
        return await self._ask(status, names)

    async def purge(self, queue: str) -> int:
        """Drop every ready message of a queue, and return how many.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerUnavailableError: there is no connection.
        """
        return await self._ask(purge, queue)

    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        """Add bindings and take others away right after, so that no message is unroutable in between.

        A message that is published in the moment in which both are there goes both ways. Taking away
        a binding that is not there is no error.

        Args:
            bind: what to add.
            unbind: what to take away.

        Raises:
            TopologyMissingError: a source or destination of a new binding is not there.
            BrokerRefusedError: the user may not bind.
            BrokerUnavailableError: there is no connection.
        """
        await self._ask(lambda connection, both: rebind(connection, *both), (bind, unbind))

    async def delete(self, entities: Entities) -> None:
        """Delete exchanges and queues with all that is in them; what is not there is no error.

        Raises:
            BrokerRefusedError: the user may not delete it.
            BrokerUnavailableError: there is no connection.
        """
        await self._ask(delete, entities)

    @asynccontextmanager
    async def _browse(self, queue: str) -> AsyncIterator[AsyncIterator[Delivery]]:
        await self._consuming.open()
        async with browse(self._consuming, queue) as deliveries:
            yield deliveries

    async def _start(
        self, subscription: Subscription, on_missing: OnMissing | None = None
    ) -> AmqpConsumer:
        await self._consuming.open()
        consumer = AmqpConsumer(
            self._consuming,
            subscription,
            restore=self._restore,
            on_change=self._changed,
            on_close=self._consumers.discard,
            on_missing=on_missing,
        )
        await self._patiently(consumer.start)
        self._consumers.add(consumer)
        return consumer

    async def _restore(self) -> bool:
        if self.redeclare is None:
            return False
        await self._redeclaring()
        return True

    async def _redeclare(self) -> None:
        if self.redeclare is not None:
            await self.redeclare()

    async def _ask(self, work: Callable[[Connection, S], Coroutine[Any, Any, T]], subject: S) -> T:
        async def attempt() -> T:
            # an alarm blocks a connection that publishes, and all that is asked for on it
            free = self._consuming if self._consuming.opened else self._publishing
            return await work(free, subject)

        return await self._patiently(attempt)

    async def _patiently(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do it, and again when the connection ended in the middle: all of it may be repeated."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(InterruptedCallError),
            stop=stop_after_delay(self._timeout),
            wait=BACK_OFF,
            reraise=True,
        )
        return await retrying(work)

    async def _close_channels(self) -> None:
        await self._redeclaring.cancel()
        await asyncio.gather(*(consumer.close() for consumer in list(self._consumers)))
        await self._publisher.close()

    def _changed(self, change: ConnectionChange) -> None:
        if self.on_connection_change is not None:
            self.on_connection_change(change)
