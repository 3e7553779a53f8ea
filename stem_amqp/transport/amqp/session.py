"""One consumer on one channel. When it ends, its `consumer` opens another session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from stem_amqp.errors import BrokerError
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.content import Content
from stem_amqp.transport.amqp.delivery import AmqpDelivery
from stem_amqp.transport.amqp.failures import LOST, aiormq_call, answered, reason
from stem_amqp.transport.amqp.link import CLOSE_TIMEOUT, close_channel
from stem_amqp.transport.amqp.settler import ChannelSettler
from stem_amqp.transport.delivery import OnDelivery

logger = logging.getLogger("stem_amqp.transport")

WATCH = 5.0
"""Seconds between two checks whether the consumer is still registered."""

Prepare = Callable[[Channel], Awaitable[object]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """The queue to consume, and how.

    Args:
        queue: the queue's name.
        on_delivery: called for each delivery.
        tag: the consumer tag.
        prefetch: the most unsettled deliveries; 0 means automatic acknowledgement.
        exclusive: request to be the only consumer.
        prepare: called with the channel before consuming, to declare the queue.
        renamed: returns the subscription to use instead if the queue remains locked by a dead
            connection that the broker still has; None waits for the queue.
    """

    queue: str
    on_delivery: OnDelivery
    tag: str
    prefetch: int
    exclusive: bool = False
    prepare: Prepare | None = None
    renamed: Callable[[], Subscription] | None = None


class Session:
    """One consumer on one channel of its own.

    Args:
        subscription: the queue and how it is consumed.
        channel: the channel.
    """

    def __init__(self, subscription: Subscription, channel: Channel) -> None:
        self._subscription = subscription
        self._channel = channel
        self._closing = channel.closing
        self._cancelled = asyncio.get_running_loop().create_future()
        self._stopped = False
        self._settler = ChannelSettler(channel.port)
        channel.port.on_delivery = (
            self._on_delivery if subscription.prefetch else self._on_settled_delivery
        )
        channel.on_consumer_cancel_callbacks.add(self._on_cancel)

    @classmethod
    async def open(cls, connection: SupervisedConnection, subscription: Subscription) -> Session:
        """Open a channel and consume.

        Args:
            connection: the consuming connection.
            subscription: the queue and how to consume it.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerRefusedError: it is in exclusive use, or the user may not read it.
            BrokerUnavailableError: the broker does not answer.
        """
        session = cls(subscription, await connection.channel(patience=connection.timeout))
        try:
            await answered(
                session._consume(),
                f"cannot consume {subscription.queue!r}",
                timeout=connection.timeout,
            )
        except BaseException:
            await session.close()
            raise
        return session

    @property
    def consuming(self) -> bool:
        """Whether the broker delivers to it."""
        return (
            not self._stopped
            and not self._channel.is_closed
            and self._subscription.tag in self._channel.consumers
        )

    @property
    def cancelled(self) -> bool:
        """Whether the broker cancelled the consumer."""
        return self._cancelled.done()

    @property
    def connected(self) -> bool:
        """Whether its connection is open."""
        return not self._channel.connection.is_closed

    async def ended(self) -> str:
        """Wait until the broker stops delivering, and return why."""
        while True:
            await asyncio.wait(
                {self._closing, self._cancelled},
                timeout=WATCH,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._cancelled.done():
                return "the broker cancelled the consumer: queue gone, or consumer timeout"
            if self._closing.done():
                return reason(None if self._closing.cancelled() else self._closing.exception())
            if not self.consuming:
                return "the consumer disappeared from its channel"

    async def stop(self) -> None:
        """Cancel the consumer; its deliveries can still be settled."""
        if not self.consuming:
            return
        self._stopped = True
        try:
            with aiormq_call():
                await self._channel.basic_cancel(self._subscription.tag, timeout=CLOSE_TIMEOUT)
        except LOST as error:
            logger.debug("cancelling consumer %s: %s", self._subscription.tag, reason(error))

    async def delete_queue(self) -> None:
        """Delete the queue if the channel is open; an exclusive queue ends with its connection anyway."""
        if self._channel.is_closed:
            return
        queue = self._subscription.queue
        try:
            await answered(
                self._channel.queue_delete(queue), f"cannot delete {queue!r}", timeout=CLOSE_TIMEOUT
            )
        except BrokerError as error:
            logger.debug("%s", error)

    async def settled(self) -> None:
        """Wait until all deliveries are settled, or the channel is closed."""
        idle = asyncio.ensure_future(self._settler.idle())
        try:
            await asyncio.wait({idle, self._closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()

    async def close(self) -> None:
        """Close the channel: the broker requeues unsettled deliveries."""
        self._channel.on_consumer_cancel_callbacks.discard(self._on_cancel)
        self._settler.close()
        await close_channel(self._channel)

    async def _consume(self) -> None:
        subscription = self._subscription
        if subscription.prepare is not None:
            await subscription.prepare(self._channel)
        if subscription.prefetch:
            await self._channel.basic_qos(prefetch_count=subscription.prefetch)
        await self._channel.basic_consume(
            subscription.queue,
            _unused,
            no_ack=not subscription.prefetch,
            exclusive=subscription.exclusive,
            consumer_tag=subscription.tag,
        )

    def _on_delivery(self, content: Content) -> None:
        delivery = AmqpDelivery(content, self._settler)
        tag = delivery.tag
        self._settler.add(tag)
        try:
            self._subscription.on_delivery(delivery)
        except Exception:
            logger.exception("on_delivery failed for %s; requeued", self._subscription.queue)
            try:
                self._settler.negative_ack(tag, requeue=True, failed=True)
            except BrokerError as error:
                logger.debug("not requeued: %s", error)

    def _on_settled_delivery(self, content: Content) -> None:
        try:
            self._subscription.on_delivery(AmqpDelivery(content, None))
        except Exception:
            logger.exception("on_delivery failed for %s", self._subscription.queue)

    def _on_cancel(self, frame: Basic.Cancel) -> None:
        if frame.consumer_tag == self._subscription.tag and not self._cancelled.done():
            self._cancelled.set_result(None)


async def _unused(message: DeliveredMessage) -> None:
    """Serve as the callback that aiormq requires; the channel's port receives the deliveries."""
