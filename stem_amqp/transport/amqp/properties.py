"""Encode and decode content headers, the properties of messages; AMQP 0-9-1, section 4.2.6.1."""

from __future__ import annotations

import contextlib
import logging
import struct
from dataclasses import dataclass, field
from typing import Any

import pamqp.frame
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from stem_amqp.transport.amqp.frames import END, HEAD, HEADER
from stem_amqp.transport.amqp.short_string import read_short, write_short
from stem_amqp.transport.amqp.table import end_of_table, read_table, write_table
from stem_amqp.transport.publication import Publication

logger = logging.getLogger("stem_amqp.transport")

BASIC = 60
"""The class ``basic``."""
_TRANSIENT, _PERSISTENT = b"\1", b"\2"
"""Delivery modes 1 and 2."""
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
"""Each property's flag, its name if it is read, and its size unless it is a string or table, in order."""

_FRAME_HEAD = struct.Struct(">BHI")
_CONTENT_HEAD = struct.Struct(">HHQH")
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
"""The exceptions of decoding malformed bytes."""


@dataclass(slots=True, eq=False)
class Properties:
    """The properties of a received message.

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
        """Convert pamqp's properties."""
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


def read_header(frame: bytes) -> tuple[int, Properties]:
    """Read a content header: the size of the body in bytes, and the properties.

    Malformed properties of a foreign message must not end the connection: a property that cannot be
    read is logged and left out, and the others and the body are still read.

    Args:
        frame: the whole frame.
    """
    _, _, size, flags = _CONTENT_HEAD.unpack_from(frame, HEAD)
    position = HEAD + _CONTENT_HEAD.size
    try:
        return size, _read_properties(frame, position, flags)
    except UNREADABLE as error:
        logger.warning("properties of a message cannot be read: %r", error)
        return size, _read_readable(frame, position, flags)


def bare_header(frame: bytes) -> bytes:
    """Return a content header without its properties, which are already read.

    Args:
        frame: the whole frame.
    """
    class_id, weight, size, _ = _CONTENT_HEAD.unpack_from(frame, HEAD)
    head = frame[: HEAD - 4] + _CONTENT_HEAD.size.to_bytes(4, "big")
    return head + _CONTENT_HEAD.pack(class_id, weight, size, 0) + END


def _read_properties(  # noqa: C901, PLR0912 one flag after the other, in the order of the specification
    frame: bytes, position: int, flags: int
) -> Properties:
    found = Properties()
    if flags & _MORE_FLAGS:
        return _read_by_pamqp(frame)
    if flags & _CONTENT_TYPE:
        found.content_type, position = read_short(frame, position)
    if flags & _CONTENT_ENCODING:
        _, position = read_short(frame, position)
    if flags & _HEADERS:
        found.headers, position = read_table(frame, position)
    if flags & _DELIVERY_MODE:
        position += 1
    if flags & _PRIORITY:
        found.priority = frame[position]
        position += 1
    if flags & _CORRELATION_ID:
        found.correlation_id, position = read_short(frame, position)
    if flags & _REPLY_TO:
        found.reply_to, position = read_short(frame, position)
    if flags & _EXPIRATION:
        _, position = read_short(frame, position)
    if flags & _MESSAGE_ID:
        found.message_id, position = read_short(frame, position)
    if flags & _TIMESTAMP:
        found.timestamp = float(_LONG_LONG.unpack_from(frame, position)[0])
        position += _LONG_LONG.size
    if flags & _TYPE:
        found.type, position = read_short(frame, position)
    if flags & _USER_ID:
        _, position = read_short(frame, position)
    if flags & _APP_ID:
        found.app_id, position = read_short(frame, position)
    return found


def _read_readable(frame: bytes, position: int, flags: int) -> Properties:
    """Read each property separately, and leave out unreadable ones."""
    found = Properties()
    if flags & _MORE_FLAGS:
        return found
    with contextlib.suppress(*UNREADABLE):
        for flag, name, size in _LAYOUT:
            if not flags & flag:
                continue
            begin, position = position, _end_of(flag, frame, position, size)
            if position >= len(frame):
                break  # truncated: the positions of the following properties are not known
            with contextlib.suppress(*UNREADABLE):
                if flag == _HEADERS:
                    found.headers, _ = read_table(frame[:-1], begin)
                elif flag == _TIMESTAMP:
                    found.timestamp = float(_LONG_LONG.unpack_from(frame, begin)[0])
                elif flag == _PRIORITY:
                    found.priority = frame[begin]
                elif name is not None:
                    setattr(found, name, read_short(frame, begin)[0])
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


def write_header(
    number: int,
    publication: Publication,
    message_id: str,
    timestamp: int,
    *,
    transient: bool = False,
) -> bytes:
    """Write the content header of a publication.

    Args:
        number: the channel.
        publication: the message.
        message_id: AMQP ``message_id``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
        transient: with delivery mode 1, so that the broker does not store it.

    Raises:
        ValueError: a property is too long, or a header cannot be encoded; or TypeError.
    """
    flags = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP
    parts = [write_short("content_type", publication.content_type)]
    if publication.headers:
        flags |= _HEADERS
        parts.append(write_table(publication.headers))
    parts.append(_TRANSIENT if transient else _PERSISTENT)
    if publication.priority is not None:
        flags |= _PRIORITY
        parts.append(publication.priority.to_bytes(1, "big"))
    if publication.correlation_id is not None:
        flags |= _CORRELATION_ID
        parts.append(write_short("correlation_id", publication.correlation_id))
    if publication.reply_to is not None:
        flags |= _REPLY_TO
        parts.append(write_short("reply_to", publication.reply_to))
    parts += (write_short("message_id", message_id), _LONG_LONG.pack(timestamp))
    if publication.type is not None:
        flags |= _TYPE
        parts.append(write_short("type", publication.type))
    if publication.app_id is not None:
        flags |= _APP_ID
        parts.append(write_short("app_id", publication.app_id))
    payload = b"".join(parts)
    return b"".join(
        (
            _FRAME_HEAD.pack(HEADER, number, _CONTENT_HEAD.size + len(payload)),
            _CONTENT_HEAD.pack(BASIC, 0, len(publication.body), flags),
            payload,
            END,
        )
    )
