"""A delivery of the in-memory broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem_amqp.transport.base import Delivery, Headers
from stem_amqp.transport.memory.message import Entry

if TYPE_CHECKING:
    from stem_amqp.transport.memory.channel import Channel


class MemoryDelivery(Delivery):
    """A delivery of the in-memory broker.

    Args:
        channel: the channel that it came on.
        entry: what was in the queue.
        tag: its number on the channel; 0 if it is settled already.
        headers: the headers, with those that depend on the queue.
    """

    __slots__ = (
        "_channel",
        "_tag",
        "app_id",
        "body",
        "content_type",
        "correlation_id",
        "exchange",
        "headers",
        "message_id",
        "priority",
        "redelivered",
        "reply_to",
        "routing_key",
        "timestamp",
        "type",
    )

    def __init__(self, channel: Channel, entry: Entry, tag: int, headers: Headers) -> None:
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

    async def ack(self) -> None:
        """Acknowledge: the broker forgets the message.

        Raises:
            StaleDeliveryError: the channel is gone, or the delivery is settled already.
        """
        self._channel.ack(self._tag)

    async def nack(self, *, requeue: bool) -> None:
        """Return it, or dead-letter it. As before RabbitMQ 4.3, every return counts.

        Raises:
            StaleDeliveryError: as for `ack`.
        """
        self._channel.refuse(self._tag, requeue=requeue)

    async def reject(self, *, requeue: bool) -> None:
        """Return it, or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """
        self._channel.refuse(self._tag, requeue=requeue)
