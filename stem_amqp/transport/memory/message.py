"""Messages in the broker, and their entries in queues."""

from __future__ import annotations

from typing import NamedTuple

from stem_amqp.errors import UnwritableError
from stem_amqp.messages.headers import size_of, unwritable
from stem_amqp.transport.publication import LARGEST_HEADERS, Headers, Publication

_SHORT = 255
"""Bytes of a routing key, a header's name or a short property."""


class Message(NamedTuple):
    """A message in the broker, shared by all queues to which it was routed.

    It is a tuple because one is created for every publish, and tuples are created fastest.

    Args:
        exchange: the exchange that it was last published to.
        routing_key: the routing key that it was last published with.
        body: the bytes.
        headers: the headers, including the broker's.
        message_id: new for every publish.
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
    """A message in one queue.

    Args:
        message: the message.
        position: its position in the order of arrival.
        expires: its expiry in microseconds since the epoch; None for never.
    """

    __slots__ = ("expires", "message", "position", "returns")

    def __init__(self, message: Message, position: int, expires: int | None) -> None:
        self.message = message
        self.position = position
        self.expires = expires
        self.returns = 0


def check_writable(publication: Publication) -> None:
    """Check that a publication can be encoded as AMQP, so that it also works on RabbitMQ.

    Raises:
        UnwritableError: the routing key is too long, or the headers are too large or of a type that
            AMQP lacks.
    """
    key = publication.routing_key
    if len(key.encode()) > _SHORT:
        raise UnwritableError(
            _refusal(publication, f"its routing key is longer than {_SHORT} bytes")
        )
    if not publication.headers:
        return
    for name, value in publication.headers.items():
        problem = unwritable({name: value})
        if problem:
            raise UnwritableError(
                _refusal(publication, f"its header {name!r} {problem}")
                + "\n  Headers take texts, numbers, bytes, times, lists and dicts of those."
            )
    size = size_of(publication.headers)
    if size > LARGEST_HEADERS:
        raise UnwritableError(
            _refusal(publication, f"its headers take {size} bytes, and one frame {LARGEST_HEADERS}")
        )


def _refusal(publication: Publication, problem: str) -> str:
    where = f"a message to exchange {publication.exchange!r}"
    return f"{where} cannot be written as AMQP: {problem}"
