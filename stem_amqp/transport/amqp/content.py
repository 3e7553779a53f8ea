"""A message as AMQP frames: the encodings that are needed for every single one.

What is rare (opening, declaring, consuming) is encoded by pamqp, through aiormq. The rest is here because it is needed for each message, and
straight code for just these frames is several times as fast as a general one. The layout is that of
AMQP 0-9-1: section 4.2.3 (frames), 4.2.6.1 (content headers), and the method ids of the class
``basic`` in the generated grammar.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pamqp.frame
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from stem_amqp.transport.amqp.frames import BODY, END, HEAD, HEADER, METHOD
from stem_amqp.transport.amqp.table import end_of_table, read_table, write_table
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

_LAYOUT: tuple[tuple[int, str | None, int | None], ...] = (
    (_CONTENT_TYPE, "content_type", None),
    (_CONTENT_ENCODING, None, None),
    (_HEADERS, "headers", None),
    (_DELIVERY_MODE, None, 1),
    (_PRIORITY, "priority", 1),
    (_CORRELATION_ID, "correlation_id", None),
    (_REPLY_TO, "reply_to", None),
    (_EXPIRATION, None, None),
    (_MESSAGE_ID, "message_id", None),
    (_TIMESTAMP, "timestamp", 8),
    (_TYPE, "type", None),
    (_USER_ID, None, None),
    (_APP_ID, "app_id", None),
)
"""Flag, name of what is kept, and bytes unless it is a text or a table: as they follow each other."""

_FRAME_HEAD = struct.Struct(">BHI")
_METHOD_ID = struct.Struct(">HH")
_CONTENT_HEAD = struct.Struct(">HHQH")
_ACK_FRAME = struct.Struct(">BHIHHQBB")
_TAG = struct.Struct(">QB")
_AROUND = HEAD + len(END)
_LEAST_FRAME = 4096
"""Bytes of a frame that every peer takes, by the specification."""
_LONG_LONG = struct.Struct(">Q")

UNREADABLE = (
    PAMQPException,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    RecursionError,
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
    """
    position = HEAD + _METHOD_ID.size
    position += 1 + frame[position]  # the consumer tag: its channel has one consumer
    tag, redelivered = _TAG.unpack_from(frame, position)
    try:
        exchange, position = _short(frame, position + _TAG.size)
        routing_key, _ = _short(frame, position)
    except UnicodeDecodeError:
        # a binding of somebody else's may bring any key; it is for people to read
        exchange, routing_key = _any_names(frame, position + _TAG.size)
    return Content(tag, redelivered & 1 == 1, exchange, routing_key)


def _any_names(frame: bytes, position: int) -> tuple[str, str]:
    """Read two names, with what is no UTF-8 in them escaped."""
    names = []
    for _ in range(2):
        begin = position + 1
        position = begin + frame[position]
        names.append(frame[begin:position].decode(errors="backslashreplace"))
    return names[0], names[1]


def read_confirm(frame: bytes) -> tuple[int, bool]:
    """Read a ``basic.ack`` or ``basic.nack``: the tag, and whether it is for all before it too.

    Args:
        frame: the whole frame.
    """
    tag, bits = _TAG.unpack_from(frame, HEAD + _METHOD_ID.size)
    return tag, bits & 1 == 1


def read_header(frame: bytes) -> tuple[int, Properties]:
    """Read a content header: the size of the body in bytes, and the properties.

    Those of a message that somebody else wrote badly must not end the connection: a property that
    cannot be read is logged and left out, and the others and the body can still be judged.

    Args:
        frame: the whole frame.
    """
    _, _, size, flags = _CONTENT_HEAD.unpack_from(frame, HEAD)
    position = HEAD + _CONTENT_HEAD.size
    try:
        return size, _read_properties(frame, position, flags)
    except UNREADABLE as error:
        logger.warning("properties of a message cannot be read: %r", error)
        return size, _read_what_can_be(frame, position, flags)


def bare_header(frame: bytes) -> bytes:
    """Return a content header without its properties, which were read here already.

    Args:
        frame: the whole frame.
    """
    class_id, weight, size, _ = _CONTENT_HEAD.unpack_from(frame, HEAD)
    head = frame[: HEAD - 4] + _CONTENT_HEAD.size.to_bytes(4, "big")
    return head + _CONTENT_HEAD.pack(class_id, weight, size, 0) + END


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
        found.headers, position = read_table(frame, position)
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


def _read_what_can_be(frame: bytes, position: int, flags: int) -> Properties:
    """Read one property after the other, and leave out those that cannot be read."""
    found = Properties()
    if flags & _MORE_FLAGS:
        return found
    with contextlib.suppress(*UNREADABLE):
        for flag, name, size in _LAYOUT:
            if not flags & flag:
                continue
            begin, position = position, _end_of(flag, frame, position, size)
            if position >= len(frame):
                break  # cut short: what follows is not where it should be
            with contextlib.suppress(*UNREADABLE):
                if flag == _HEADERS:
                    found.headers, _ = read_table(frame[:-1], begin)
                elif flag == _TIMESTAMP:
                    found.timestamp = float(_LONG_LONG.unpack_from(frame, begin)[0])
                elif flag == _PRIORITY:
                    found.priority = frame[begin]
                elif name is not None:
                    setattr(found, name, _short(frame, begin)[0])
    return found


def _end_of(flag: int, frame: bytes, position: int, size: int | None) -> int:
    if flag == _HEADERS:
        return end_of_table(frame, position)
    return position + (1 + frame[position] if size is None else size)


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
        largest: bytes of the payload of one frame, at most.

    Raises:
        ValueError: a property is too long, or a header cannot be written; TypeError says so too.
    """
    body = publication.body
    header = _header_frame(number, publication, message_id, int(timestamp))
    if len(header) > max(largest + _AROUND, _LEAST_FRAME):
        # RabbitMQ would close the connection, and all that shares it
        raise ValueError(
            f"the headers and properties take {len(header) - _AROUND} bytes, and one frame"
            f" takes {largest}"
        )
    parts = [_publish_frame(number, publication.exchange, publication.routing_key), header]
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
        parts.append(write_table(publication.headers))
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


def _short(frame: bytes, position: int) -> tuple[str, int]:
    begin = position + 1
    end = begin + frame[position]
    return frame[begin:end].decode(), end


def _bytes(name: str, value: str) -> bytes:
    data = value.encode()
    if len(data) > LONGEST_SHORT:
        raise ValueError(f"the {name} has {len(data)} bytes, AMQP allows {LONGEST_SHORT}")
    return bytes((len(data),)) + data
