"""A message inside the broker, and its place in a queue."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from stem_amqp.errors import PublishError
from stem_amqp.transport.base import Headers, Publication

_SHORT = 255
"""Bytes of a routing key, a header's name or a short property."""
_PLAIN: frozenset[type] = frozenset(
    {str, bool, bytes, bytearray, float, datetime, Decimal, type(None)}
)
_INTEGERS = range(-(2**63), 2**63)


class Message(NamedTuple):
    """A message as the broker keeps it, shared by all queues that it was routed to.

    It is a tuple because one is built for every publish, and a tuple is built fastest.

    Args:
        exchange: the exchange that it was last published to.
        routing_key: the routing key that it was last published with.
        body: the bytes.
        headers: the headers, the broker's own among them.
        message_id: fresh for every publish.
        timestamp: whole seconds since the epoch.
        type: AMQP ``type``.
        correlation_id: AMQP ``correlation_id``.
        reply_to: AMQP ``reply_to``.
        priority: AMQP ``priority``.
        app_id: AMQP ``app_id``.
        content_type: AMQP ``content_type``.
    """

    exchange: str
    routing_key: str
    body: bytes
    headers: Headers
    message_id: str
    timestamp: float
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    app_id: str | None = None
    content_type: str | None = None


class Entry:
    """A message's place in one queue.

    Args:
        message: the message.
        position: its place in the order of arrival.
        expires: when it expires, in microseconds since the epoch; None for never.
    """

    __slots__ = ("expires", "message", "position", "returns")

    def __init__(self, message: Message, position: int, expires: int | None) -> None:
        self.message = message
        self.position = position
        self.expires = expires
        self.returns = 0


def check_writable(publication: Publication) -> None:
    """Make sure that AMQP could carry a publication, so that it works on RabbitMQ too.

    Raises:
        PublishError: the routing key is too long, or a header is of a type that AMQP has not.
    """
    where = f"a message to exchange {publication.exchange!r}"
    if len(publication.routing_key.encode()) > _SHORT:
        raise PublishError(
            f"{where} cannot be written as AMQP: its routing key is longer than {_SHORT} bytes"
        )
    for name, value in publication.headers.items():
        problem = _unwritable(value)
        if problem:
            raise PublishError(
                f"{where} cannot be written as AMQP: its header {name!r} holds {problem}\n"
                "  Headers take texts, numbers, bytes, times, lists and dicts of those."
            )


def _unwritable(value: Any) -> str | None:
    """Return what AMQP cannot carry, in a few words."""
    kind = type(value)
    if kind in _PLAIN:
        return None
    if kind is int:
        return None if value in _INTEGERS else "a number beyond 64 bits"
    parts = value.values() if kind is dict else value if kind is list else None
    if parts is None:
        return f"a {kind.__name__}"
    return next((problem for part in parts if (problem := _unwritable(part))), None)
