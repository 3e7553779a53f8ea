"""What is published in place of a delivery, wherever it goes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp.transport.base import Delivery, Publication


def same_message(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, Any]
) -> Publication:
    """Return a publication of a delivery's body and properties to somewhere else."""
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
