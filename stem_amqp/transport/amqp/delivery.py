"""A delivery of RabbitMQ."""

from __future__ import annotations

from stem_amqp.errors import StaleDeliveryError
from stem_amqp.transport.amqp.content import Content
from stem_amqp.transport.amqp.settler import Settler
from stem_amqp.transport.base import Delivery


class AmqpDelivery(Delivery):
    """A delivery of RabbitMQ.

    Args:
        content: what was received.
        settler: what settles on its channel; None if the broker counts it as settled already.
    """

    __slots__ = (
        "_settler",
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
        "tag",
        "timestamp",
        "type",
    )

    def __init__(self, content: Content, settler: Settler | None) -> None:
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

    async def ack(self) -> None:
        """Acknowledge: the broker forgets the message.

        Raises:
            StaleDeliveryError: the channel is gone, or the delivery is settled already.
        """
        self._its_settler().ack(self.tag)

    async def nack(self, *, requeue: bool) -> None:
        """Return it politely (``requeue``), or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """
        self._its_settler().give_back(self.tag, requeue=requeue, failed=False)

    async def reject(self, *, requeue: bool) -> None:
        """Return it as a failure that counts towards the delivery limit, or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """
        self._its_settler().give_back(self.tag, requeue=requeue, failed=True)

    def _its_settler(self) -> Settler:
        if self._settler is None:
            raise StaleDeliveryError("the delivery was acknowledged on receipt")
        return self._settler
