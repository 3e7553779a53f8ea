"""A delivery of the in-memory broker."""

from __future__ import annotations

from typing import Protocol

from typing_extensions import override

from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.memory.message import Entry
from stem_amqp.transport.publication import Headers


class Settlement(Protocol):
    """Where deliveries are settled: see `stem_amqp.transport.memory.channel.Channel`."""

    def ack(self, tag: int) -> None:
        """Forget a delivery's message.

        Raises:
            StaleDeliveryError: it cannot be settled here.
        """

    def refuse(self, tag: int, *, requeue: bool) -> None:
        """Requeue or dead-letter a delivery's message.

        Raises:
            StaleDeliveryError: it cannot be settled here.
        """


class MemoryDelivery(Delivery):
    """A delivery of the in-memory broker.

    Args:
        channel: the channel that it came on.
        entry: the entry of the queue.
        tag: the delivery tag on the channel; 0 if the delivery is settled already.
        headers: the headers, including those that depend on the queue.
    """

    __slots__ = ("_channel", "_tag")

    def __init__(self, channel: Settlement, entry: Entry, tag: int, headers: Headers) -> None:
        message = entry.message
        self._channel = channel
        self._tag = tag
        self.headers = headers
        self.redelivered = entry.returns > 0
        self.body = message.body
        self.exchange = message.exchange
        self.routing_key = message.routing_key
        self.type = message.type
        self.correlation_id = message.correlation_id
        self.message_id = message.message_id
        self.reply_to = message.reply_to
        self.priority = message.priority
        self.app_id = message.app_id
        self.content_type = message.content_type
        self.timestamp = message.timestamp

    @override
    async def ack(self) -> None:
        self._channel.ack(self._tag)

    @override
    async def nack(self, *, requeue: bool) -> None:
        """Requeue or dead-letter the message. As before RabbitMQ 4.3, every requeue counts.

        Raises:
            StaleDeliveryError: as for `ack`.
        """
        self._channel.refuse(self._tag, requeue=requeue)

    @override
    async def reject(self, *, requeue: bool) -> None:
        self._channel.refuse(self._tag, requeue=requeue)
