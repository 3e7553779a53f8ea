"""A message as AMQP frames: the encodings that are needed for every single one.

What is rare (opening, declaring, consuming) is encoded by pamqp, through aiormq, and so is a table
of headers, which few messages have. The rest is here because it is needed for each message, and
straight code for just these frames is several times as fast as a general one. The layout is that of
AMQP 0-9-1: section 4.2.3 (frames), 4.2.6.1 (content headers), and the method ids of the class
``basic`` in the generated grammar.
"""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pamqp.encode
import pamqp.frame
from pamqp import decode
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from stem_amqp.transport.amqp.frames import BODY, END, HEAD, HEADER, METHOD
from stem_amqp.transport.base import Publication

logger = logging.getLogger("stem_amqp.transport")

BASIC = 60
DELIVER, ACK, NACK, RETURN = 60, 80, 120, 50
"""Methods of the class ``basic`` that come by the thousand."""
_PERSISTENT = b"\2"
"""Delivery mode 2."""
LONGEST_SHORT = 255
"""Bytes of AMQP's short strings, at most."""
_REMEMBERED = 1024
"""Routes whose encoded ``basic.publish`` is kept."""

(_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY, _CORRELATION_ID) = (
    1 << bit for bit in range(15, 9, -1)
)
(_REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID, _APP_ID) = (
    1 << bit for bit in range(9, 2, -1)
)
_MORE_FLAGS = 1

_FRAME_HEAD = struct.Struct(">BHI")
_METHOD_ID = struct.Struct(">HH")
_CONTENT_HEAD = struct.Struct(">HHQH")
_ACK_FRAME = struct.Struct(">BHIHHQBB")
_TAG = struct.Struct(">QB")
_LONG_LONG = struct.Struct(">Q")

UNREADABLE = (
    PAMQPException,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    struct.error,
)
"""What decoding raises for bytes that are not what they should be."""


@dataclass(slots=True, eq=False)
class Properties:
    """The properties of a message that was received.

    Attributes:
        content_type: AMQP ``content_type``.
        headers: AMQP headers.
        priority: AMQP ``priority``.
        correlation_id: AMQP ``correlation_id``.
        reply_to: AMQP ``reply_to``.
        message_id: AMQP ``message_id``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
        type: AMQP ``type``.
        app_id: AMQP ``app_id``.
    """

    content_type: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    message_id: str | None = None
    timestamp: float | None = None
    type: str | None = None
    app_id: str | None = None

    @classmethod
    def of(cls, properties: Basic.Properties) -> Properties:
        """Take them over from pamqp's."""
        at = properties.timestamp
        return cls(
            content_type=properties.content_type,
            headers=properties.headers or {},
            priority=properties.priority,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            message_id=properties.message_id,
            timestamp=None if at is None else at.timestamp(),
            type=properties.message_type,
            app_id=properties.app_id,
        )


@dataclass(slots=True, eq=False)
class Content:
    """A message as it came.

    Args:
        tag: its delivery tag.
        redelivered: whether the broker delivered it before.
        exchange: the exchange that it was last published to.
        routing_key: the routing key that it came with.
        properties: its properties; empty ones if they cannot be read.
        body: its body.
    """

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Properties = field(default_factory=Properties)
    body: bytes = b""


def read_deliver(frame: bytes) -> Content:
    """Read a ``basic.deliver``; properties and body are still to come.

    Args:
        frame: the whole frame.

    Raises:
        LookupError: it is cut short; struct.error says so too.
        ValueError: a name is no UTF-8.
    """
    position = HEAD + _METHOD_ID.size
    position += 1 + frame[position]  # the consumer tag: its channel has one consumer
    tag, redelivered = _TAG.unpack_from(frame, position)
    exchange, position = _short(frame, position + _TAG.size)
    routing_key, _ = _short(frame, position)
    return Content(tag, redelivered & 1 == 1, exchange, routing_key)


def read_confirm(frame: bytes) -> tuple[int, bool]:
    """Read a ``basic.ack`` or ``basic.nack``: the tag, and whether it is for all before it too.

    Args:
        frame: the whole frame.
    """
    tag, bits = _TAG.unpack_from(frame, HEAD + _METHOD_ID.size)
    return tag, bits & 1 == 1


def read_header(frame: bytes) -> tuple[int, Properties]:
    """Read a content header: the size of the body in bytes, and the properties.

    Those of a message that somebody else wrote badly must not end the connection: what cannot be
    read is logged and left out, and the body can still be judged.

    Args:
        frame: the whole frame.
    """
    _, _, size, flags = _CONTENT_HEAD.unpack_from(frame, HEAD)
    try:
        return size, _read_properties(frame, HEAD + _CONTENT_HEAD.size, flags)
    except UNREADABLE:
        logger.warning("the properties of a message cannot be read", exc_info=True)
        return size, Properties()


def _read_properties(  # noqa: C901, PLR0912 straight down the flags, as the specification has them
    frame: bytes, position: int, flags: int
) -> Properties:
    found = Properties()
    if flags & _MORE_FLAGS:
        return _read_by_pamqp(frame)
    if flags & _CONTENT_TYPE:
        found.content_type, position = _short(frame, position)
    if flags & _CONTENT_ENCODING:
        _, position = _short(frame, position)
    if flags & _HEADERS:
        used, found.headers = decode.field_table(frame[position:-1])
        position += used
    if flags & _DELIVERY_MODE:
        position += 1
    if flags & _PRIORITY:
        found.priority = frame[position]
        position += 1
    if flags & _CORRELATION_ID:
        found.correlation_id, position = _short(frame, position)
    if flags & _REPLY_TO:
        found.reply_to, position = _short(frame, position)
    if flags & _EXPIRATION:
        _, position = _short(frame, position)
    if flags & _MESSAGE_ID:
        found.message_id, position = _short(frame, position)
    if flags & _TIMESTAMP:
        found.timestamp = float(_LONG_LONG.unpack_from(frame, position)[0])
        position += _LONG_LONG.size
    if flags & _TYPE:
        found.type, position = _short(frame, position)
    if flags & _USER_ID:
        _, position = _short(frame, position)
    if flags & _APP_ID:
        found.app_id, position = _short(frame, position)
    return found


def _read_by_pamqp(frame: bytes) -> Properties:
    _, _, header = pamqp.frame.unmarshal(frame)
    if not isinstance(header, ContentHeader):
        raise TypeError(f"a content header was expected, not {header!r}")
    return Properties.of(header.properties)


def write_message(
    number: int, publication: Publication, *, message_id: str, timestamp: float, largest: int
) -> bytes:
    """Write all frames of a ``basic.publish``: mandatory and persistent.

    Args:
        number: the channel.
        publication: the message.
        message_id: AMQP ``message_id``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
        largest: bytes of the body in one frame, at most.

    Raises:
        ValueError: a property is too long, or a header cannot be written; TypeError says so too.
    """
    body = publication.body
    parts = [
        _publish_frame(number, publication.exchange, publication.routing_key),
        _header_frame(number, publication, message_id, int(timestamp)),
    ]
    for begin in range(0, len(body), largest):
        part = body[begin : begin + largest]
        parts += (_FRAME_HEAD.pack(BODY, number, len(part)), part, END)
    return b"".join(parts)


def write_ack(number: int, tag: int, *, multiple: bool = False) -> bytes:
    """Write a ``basic.ack``.

    Args:
        number: the channel.
        tag: the delivery tag.
        multiple: for all before it too.
    """
    return _ACK_FRAME.pack(METHOD, number, 13, BASIC, ACK, tag, multiple, END[0])


@lru_cache(maxsize=_REMEMBERED)
def _publish_frame(number: int, exchange: str, routing_key: str) -> bytes:
    # pamqp would write an over-long name without a word
    _bytes("exchange", exchange)
    _bytes("routing key", routing_key)
    frame = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    return pamqp.frame.marshal(frame, number)


def _header_frame(number: int, publication: Publication, message_id: str, timestamp: int) -> bytes:
    flags = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP
    parts = [_bytes("content_type", publication.content_type)]
    if publication.headers:
        flags |= _HEADERS
        parts.append(_table(publication))
    parts.append(_PERSISTENT)
    if publication.priority is not None:
        flags |= _PRIORITY
        parts.append(publication.priority.to_bytes(1, "big"))
    if publication.correlation_id is not None:
        flags |= _CORRELATION_ID
        parts.append(_bytes("correlation_id", publication.correlation_id))
    if publication.reply_to is not None:
        flags |= _REPLY_TO
        parts.append(_bytes("reply_to", publication.reply_to))
    parts += (_bytes("message_id", message_id), _LONG_LONG.pack(timestamp))
    if publication.type is not None:
        flags |= _TYPE
        parts.append(_bytes("type", publication.type))
    if publication.app_id is not None:
        flags |= _APP_ID
        parts.append(_bytes("app_id", publication.app_id))
    payload = b"".join(parts)
    return b"".join(
        (
            _FRAME_HEAD.pack(HEADER, number, _CONTENT_HEAD.size + len(payload)),
            _CONTENT_HEAD.pack(BASIC, 0, len(publication.body), flags),
            payload,
            END,
        )
    )


def _table(publication: Publication) -> bytes:
    # a header of a foreign message that is no UTF-8 was received as bytes, which pamqp cannot write
    return pamqp.encode.field_table(
        {
            name: bytearray(value) if isinstance(value, bytes) else value
            for name, value in publication.headers.items()
        }
    )


def _short(frame: bytes, position: int) -> tuple[str, int]:
    begin = position + 1
    end = begin + frame[position]
    return frame[begin:end].decode(), end


def _bytes(name: str, value: str) -> bytes:
    data = value.encode()
    if len(data) > LONGEST_SHORT:
        raise ValueError(f"the {name} has {len(data)} bytes, AMQP allows {LONGEST_SHORT}")
    return bytes((len(data),)) + data
