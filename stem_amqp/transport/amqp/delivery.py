"""Deliveries received from RabbitMQ."""

from __future__ import annotations

from typing_extensions import override

from stem_amqp.errors import StaleDeliveryError
from stem_amqp.transport.amqp.content import Content
from stem_amqp.transport.amqp.settler import ChannelSettler
from stem_amqp.transport.delivery import Delivery


class AmqpDelivery(Delivery):
    """A delivery of RabbitMQ.

    Args:
        content: the received message.
        settler: settles on its channel; None for a consumer with automatic acknowledgement.
    """

    __slots__ = ("_settler", "tag")

    def __init__(self, content: Content, settler: ChannelSettler | None) -> None:
        properties = content.properties
        self._settler = settler
        self.tag = content.tag
        self.body = content.body
        self.headers = properties.headers
        self.exchange = content.exchange
        self.routing_key = content.routing_key
        self.redelivered = content.redelivered
        self.type = properties.type
        self.correlation_id = properties.correlation_id
        self.message_id = properties.message_id
        self.reply_to = properties.reply_to
        self.priority = properties.priority
        self.app_id = properties.app_id
        self.content_type = properties.content_type
        self.timestamp = properties.timestamp

    @override
    async def ack(self) -> None:
        self._own_settler().ack(self.tag)

    @override
    async def nack(self, *, requeue: bool) -> None:
        self._own_settler().negative_ack(self.tag, requeue=requeue, failed=False)

    @override
    async def reject(self, *, requeue: bool) -> None:
        self._own_settler().negative_ack(self.tag, requeue=requeue, failed=True)

    def _own_settler(self) -> ChannelSettler:
        if self._settler is None:
            raise StaleDeliveryError("the delivery was acknowledged on receipt")
        return self._settler
