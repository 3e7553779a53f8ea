"""Encode and decode the AMQP frames of messages.

pamqp, through aiormq, encodes infrequent frames (opening, declaring, consuming). The frames of messages
are encoded here and in `stem_amqp.transport.amqp.properties`: code for these frames alone is several
times as fast as a general encoder. The layout is that of AMQP 0-9-1: section 4.2.3 (frames),
4.2.6.1 (content headers), and the method ids of the class ``basic`` in the generated grammar.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

import pamqp.frame
from pamqp.commands import Basic

from stem_amqp.transport.amqp.frames import BODY, END, HEAD, METHOD
from stem_amqp.transport.amqp.properties import BASIC, Properties, write_header
from stem_amqp.transport.amqp.short_string import read_short, write_short
from stem_amqp.transport.publication import Publication

DELIVER, ACK, NACK, RETURN = 60, 80, 120, 50
"""Frequent methods of the class ``basic``."""
_CACHED_ROUTES = 1024
"""The number of routes whose encoded ``basic.publish`` is cached."""

_FRAME_HEAD = struct.Struct(">BHI")
_METHOD_ID = struct.Struct(">HH")
_ACK_FRAME = struct.Struct(">BHIHHQBB")
_TAG = struct.Struct(">QB")
_OVERHEAD = HEAD + len(END)
_MINIMUM_FRAME_MAX = 4096
"""The frame size in bytes that every peer must accept, by the specification."""


@dataclass(slots=True, eq=False)
class Content:
    """A received message.

    Args:
        tag: its delivery tag.
        redelivered: whether the broker delivered it before.
        exchange: the exchange that it was last published to.
        routing_key: its routing key.
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
    """Read a ``basic.deliver``; properties and body follow in other frames.

    Args:
        frame: the whole frame.

    Raises:
        LookupError: the frame is truncated; or struct.error.
    """
    position = HEAD + _METHOD_ID.size
    position += 1 + frame[position]  # the consumer tag: its channel has one consumer
    tag, redelivered = _TAG.unpack_from(frame, position)
    try:
        exchange, position = read_short(frame, position + _TAG.size)
        routing_key, _ = read_short(frame, position)
    except UnicodeDecodeError:
        # a foreign publisher may use any key; escape it for display
        exchange, routing_key = _any_names(frame, position + _TAG.size)
    return Content(tag, redelivered & 1 == 1, exchange, routing_key)


def _any_names(frame: bytes, position: int) -> tuple[str, str]:
    """Read two names, with bytes that are not UTF-8 escaped."""
    names = []
    for _ in range(2):
        begin = position + 1
        position = begin + frame[position]
        names.append(frame[begin:position].decode(errors="backslashreplace"))
    return names[0], names[1]


def read_confirm(frame: bytes) -> tuple[int, bool]:
    """Read a ``basic.ack`` or ``basic.nack``: the tag and ``multiple``.

    Args:
        frame: the whole frame.
    """
    tag, bits = _TAG.unpack_from(frame, HEAD + _METHOD_ID.size)
    return tag, bits & 1 == 1


def write_message(
    number: int,
    publication: Publication,
    *,
    message_id: str,
    timestamp: float,
    largest: int,
    transient: bool = False,
) -> bytes:
    """Write all frames of a ``basic.publish``, mandatory and persistent unless it is transient.

    Args:
        number: the channel.
        publication: the message.
        message_id: AMQP ``message_id``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
        largest: the largest payload of a frame in bytes.
        transient: not stored by the broker, and dropped if it matches no queue.

    Raises:
        ValueError: a property is too long, or a header cannot be encoded; or TypeError.
    """
    body = publication.body
    header = write_header(number, publication, message_id, int(timestamp), transient=transient)
    if len(header) > max(largest + _OVERHEAD, _MINIMUM_FRAME_MAX):
        # RabbitMQ would close the shared connection
        raise ValueError(
            f"the headers and properties have {len(header) - _OVERHEAD} bytes, a frame can have"
            f" {largest}"
        )
    exchange, key = publication.exchange, publication.routing_key
    parts = [_publish_frame(number, exchange, key, mandatory=not transient), header]
    for begin in range(0, len(body), largest):
        part = body[begin : begin + largest]
        parts += (_FRAME_HEAD.pack(BODY, number, len(part)), part, END)
    return b"".join(parts)


def write_ack(number: int, tag: int, *, multiple: bool = False) -> bytes:
    """Write a ``basic.ack``.

    Args:
        number: the channel.
        tag: the delivery tag.
        multiple: whether it also covers all earlier tags.
    """
    return _ACK_FRAME.pack(METHOD, number, 13, BASIC, ACK, tag, multiple, END[0])


@lru_cache(maxsize=_CACHED_ROUTES)
def _publish_frame(number: int, exchange: str, routing_key: str, *, mandatory: bool) -> bytes:
    # pamqp would silently write a name that is too long
    write_short("exchange", exchange)
    write_short("routing key", routing_key)
    frame = Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return pamqp.frame.marshal(frame, number)
