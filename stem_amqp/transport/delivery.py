"""Deliveries, and publications that copy them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from stem_amqp.transport.publication import Headers, Publication


class Delivery(ABC):
    """A message that the broker delivered, to be settled exactly once.

    Attributes:
        body: the bytes.
        headers: the received headers, including RabbitMQ's.
        exchange: the exchange that it was last published to.
        routing_key: its routing key.
        redelivered: whether the broker delivered it before.
        type: AMQP ``type``.
        correlation_id: AMQP ``correlation_id``.
        message_id: AMQP ``message_id``.
        reply_to: AMQP ``reply_to``.
        priority: AMQP ``priority``.
        app_id: AMQP ``app_id``.
        content_type: AMQP ``content_type``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
    """

    __slots__ = (
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

    body: bytes
    headers: Headers
    exchange: str
    routing_key: str
    redelivered: bool
    type: str | None
    correlation_id: str | None
    message_id: str | None
    reply_to: str | None
    priority: int | None
    app_id: str | None
    content_type: str | None
    timestamp: float | None

    @abstractmethod
    async def ack(self) -> None:
        """Acknowledge: the broker removes the message.

        Raises:
            StaleDeliveryError: the channel is closed, and the broker delivers the message again; or the
                delivery is already settled.
        """

    @abstractmethod
    async def nack(self, *, requeue: bool) -> None:
        """Requeue it without counting a failure (``requeue``), or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """

    @abstractmethod
    async def reject(self, *, requeue: bool) -> None:
        """Requeue it as a failure that counts towards the delivery limit, or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """


OnDelivery = Callable[[Delivery], None]
"""Called in the event loop for each delivery; must not block and must not raise."""


def same_message(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, Any]
) -> Publication:
    """Return a publication with a delivery's body and properties, for another destination."""
    return Publication(
        exchange=exchange,
        routing_key=routing_key,
        body=delivery.body,
        type=delivery.type,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        priority=delivery.priority,
        app_id=delivery.app_id,
        content_type=delivery.content_type or "application/octet-stream",
        headers=headers,
    )
