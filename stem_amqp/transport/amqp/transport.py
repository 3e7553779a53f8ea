"""The transport to RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay
from typing_extensions import override

from stem_amqp.clock import SystemClock
from stem_amqp.errors import UnroutableError
from stem_amqp.event_loop import LoopBinding
from stem_amqp.tls import TlsSource
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.amqp.browser import browse
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import BACK_OFF, Dialer, SupervisedConnection
from stem_amqp.transport.amqp.consumer import AmqpConsumer
from stem_amqp.transport.amqp.declare import declare, delete, purge, rebind
from stem_amqp.transport.amqp.failures import ALARM, InterruptedCallError
from stem_amqp.transport.amqp.probe import missing, status
from stem_amqp.transport.amqp.publisher import Publisher
from stem_amqp.transport.amqp.sender import Sender
from stem_amqp.transport.amqp.session import Subscription
from stem_amqp.transport.amqp.single_flight import SingleFlight
from stem_amqp.transport.amqp.urls import parse_urls
from stem_amqp.transport.base import BrokerInfo, ConnectionChange, OnMissing, QueueStatus, Transport
from stem_amqp.transport.delivery import Delivery, OnDelivery
from stem_amqp.transport.publication import OTHER_PROPERTIES, Publication

logger = logging.getLogger("stem_amqp.transport")

S = TypeVar("S")
T = TypeVar("T")

CLOSE_TIMEOUT = 5.0
"""Seconds to settle and to close channels before the connections are closed."""


class AmqpTransport(Transport):
    """The transport to RabbitMQ.

    It has two connections: one publishes, and the other, opened when needed, consumes. A resource alarm
    blocks everything on a publishing connection and must not block settling.

    Args:
        urls: the brokers' URLs, tried in this order.
        name: the connections' name in the management UI, followed by their role.
        namespace: the connections' namespace in the management UI.
        heartbeat: seconds between AMQP heartbeats; a connection without data for two of them is aborted.
        connect_timeout: seconds for one attempt at one URL, and for a reply of the broker.
        publish_timeout: seconds in which a publish must be confirmed.
        ssl_context: for ``amqps`` URLs, see `stem_amqp.tls.files`; None uses the system's authorities.
        server_name: the name to verify in the broker's certificate; None uses the URL's host.

    Raises:
        ConfigurationError: a URL is not valid.
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
        self._home = LoopBinding("this connection to the broker")
        self._timeout = connect_timeout
        self._publish_timeout = publish_timeout
        self._publishing = SupervisedConnection(dialer, "publishing", self._changed)
        self._consuming = SupervisedConnection(dialer, "consuming", self._changed)
        self._publisher = Publisher(self._publishing, self.clock, timeout=publish_timeout)
        self._sender = Sender(self._publishing, self.clock)
        self._consumers: set[AmqpConsumer] = set()
        self._redeclaring = SingleFlight(self._redeclare, name="stem-amqp redeclare")

    @property
    @override
    def largest_headers(self) -> int:
        """The largest headers in bytes that fit into one frame of the negotiated size."""
        return self._publishing.frame_max - OTHER_PROPERTIES

    @override
    async def connect(self) -> BrokerInfo:
        """Open the publishing connection; a second call does nothing.

        Raises:
            BrokerUnavailableError: none of the URLs answers, or the transport is closed.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
        """
        self._home.enter()
        return await self._publishing.open()

    @override
    def abandon(self) -> None:
        self._consuming.abandon()
        self._publishing.abandon()

    @override
    async def close(self) -> None:
        """Close everything within a few seconds; a second call does nothing."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._close_channels()
        except TimeoutError:
            logger.warning("the broker does not answer: the connections are aborted")
        await asyncio.gather(self._consuming.close(), self._publishing.close())
        await self._close_channels()  # interrupted closes end at once without a connection

    @override
    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's confirm. May be called concurrently.

        A message whose confirm was lost with its connection is published again within the publish
        timeout, so the broker may have it twice. An unroutable message is published once more after `restorer` has declared missing entities.

        Raises:
            UnroutableError: it matches no queue.
            PublishRefusedError: the broker nacked it.
            PublishTimeoutError: no confirm within the publish timeout.
            BrokerUnavailableError: no connection within the publish timeout.
            BrokerRefusedError: the user may not publish to the exchange.
        """
        self._home.check()
        deadline = asyncio.get_running_loop().time() + self._publish_timeout
        try:
            await self._publisher.publish(publication, deadline)
        except UnroutableError as error:
            if self.restorer is None:
                raise
            await self.restorer.publish_again(
                publication,
                error,
                lambda: self._publisher.publish(publication, deadline),
                deadline=deadline,
            )

    @override
    async def blocked(self) -> str:
        return ALARM.strip() if await self._publishing.blocked() else ""

    @override
    def send(self, publication: Publication) -> bool:
        self._home.check()
        return self._sender.send(publication)

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
    ) -> AmqpConsumer:
        subscription = Subscription(
            queue=queue,
            on_delivery=on_delivery,
            tag=tag,
            prefetch=max(1, prefetch),
            exclusive=exclusive,
        )
        return await self._start(subscription, on_missing)

    @override
    def browse(self, queue: str) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        return self._browse(queue)

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
        arguments = {} if expires is None else {"x-expires": max(1, round(expires * 1000))}
        if limit is not None:
            arguments["x-max-length"] = limit

        def named(queue: str, number: int) -> Subscription:
            async def declare(channel: Channel) -> None:
                await channel.queue_declare(queue, exclusive=True, arguments=dict(arguments))
                for key in keys if exchange is not None else ():
                    await channel.queue_bind(queue, exchange or "", key)

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

    @override
    async def declare(self, entities: Entities) -> None:
        await self._ask(declare, entities)

    @override
    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        return await self._ask(missing, entities)

    @override
    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        names = tuple(queues)
        return await self._ask(status, names)

    @override
    async def purge(self, queue: str) -> int:
        return await self._ask(purge, queue)

    @override
    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        await self._ask(lambda connection, both: rebind(connection, *both), (bind, unbind))

    @override
    async def delete(self, entities: Entities) -> None:
        await self._ask(delete, entities)

    @asynccontextmanager
    async def _browse(self, queue: str) -> AsyncIterator[AsyncIterator[Delivery]]:
        self._home.check()
        await self._consuming.open()
        async with browse(self._consuming, queue) as deliveries:
            yield deliveries

    async def _start(
        self, subscription: Subscription, on_missing: OnMissing | None = None
    ) -> AmqpConsumer:
        self._home.check()
        await self._consuming.open()
        consumer = AmqpConsumer(
            self._consuming,
            subscription,
            restore=self._restore,
            on_change=self._changed,
            on_close=self._consumers.discard,
            on_missing=on_missing,
        )
        await self._with_retries(consumer.start)
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

    async def _ask(
        self, work: Callable[[SupervisedConnection, S], Coroutine[Any, Any, T]], subject: S
    ) -> T:
        self._home.check()

        async def attempt() -> T:
            # an alarm blocks a publishing connection, and all requests on it
            free = self._consuming if self._consuming.opened else self._publishing
            return await work(free, subject)

        return await self._with_retries(attempt)

    async def _with_retries(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a call, and repeat it while the connection or a queue's node fails during it.

        All calls may be repeated.
        """
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
        await self._sender.close()

    def _changed(self, change: ConnectionChange) -> None:
        if self.on_connection_change is not None:
            self.on_connection_change(change)
