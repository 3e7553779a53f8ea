"""Publications, and the size limit of their headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = Mapping[str, Any]

FRAME_MAX = 131072
"""RabbitMQ's default frame size in bytes."""
OTHER_PROPERTIES = 1664
"""The largest content header without its table, in bytes: six short strings of 256, and fixed parts."""
LARGEST_HEADERS = FRAME_MAX - OTHER_PROPERTIES


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message to publish: persistent, mandatory, and confirmed before `publish` returns.

    The transport gives each publish a new ``message_id``.

    Args:
        exchange: the exchange; ``""`` is the default exchange (replies only).
        routing_key: the routing key, at most 255 bytes.
        body: the bytes.
        type: AMQP ``type``, the task's name.
        correlation_id: AMQP ``correlation_id``, the task's id.
        reply_to: AMQP ``reply_to``, the queue for a reply.
        priority: AMQP ``priority``.
        app_id: AMQP ``app_id``, the namespace.
        headers: AMQP headers.
        content_type: AMQP ``content_type``.
    """

    exchange: str
    routing_key: str
    body: bytes
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    app_id: str | None = None
    headers: Headers = field(default_factory=dict)
    content_type: str = "application/json"
