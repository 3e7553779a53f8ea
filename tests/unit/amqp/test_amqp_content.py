"""The frames of a message, written and read as by pamqp."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from stem_amqp.transport.amqp.content import (
    Content,
    read_confirm,
    read_deliver,
    write_ack,
    write_message,
)
from stem_amqp.transport.amqp.properties import Properties, read_header
from stem_amqp.transport.publication import Publication

SHORT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MAYBE = st.none() | SHORT
EXCHANGE = st.text("abcXYZ0189.:_-", max_size=100)  # pamqp writes no other names
HEADERS = st.dictionaries(
    st.text("abcdefghij-", min_size=1, max_size=12),
    st.booleans() | st.integers(-(2**31), 2**31 - 1) | SHORT | st.lists(SHORT, max_size=3),
    max_size=4,
)
PUBLICATIONS = st.builds(
    Publication,
    exchange=EXCHANGE,
    routing_key=SHORT,
    body=st.binary(max_size=200),
    type=MAYBE,
    correlation_id=MAYBE,
    reply_to=MAYBE,
    priority=st.none() | st.integers(0, 255),
    app_id=MAYBE,
    headers=HEADERS,
    content_type=SHORT,
)
SECONDS = st.integers(0, 4_000_000_000)


def frames_of(data):
    """Return the written bytes as pamqp's frames, each with its channel."""
    frames = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        frames.append((channel, frame))
        data = data[size:]
    return frames


@given(PUBLICATIONS, SECONDS, st.integers(1, 60), st.integers(1, 2047))
def test_a_written_message_is_read_by_pamqp(publication, seconds, largest, number):
    """Every property arrives, and the body is split to the broker's frame size."""
    data = write_message(
        number, publication, message_id="m-1", timestamp=seconds + 0.7, largest=largest
    )
    (_, publish), (_, header), *parts = frames_of(data)
    assert isinstance(publish, Basic.Publish)
    assert (publish.exchange, publish.routing_key) == (
        publication.exchange,
        publication.routing_key,
    )
    assert publish.mandatory
    assert header.body_size == len(publication.body)
    properties = header.properties
    assert properties.delivery_mode == 2
    assert properties.message_id == "m-1"
    assert properties.timestamp == datetime.fromtimestamp(seconds, UTC)
    assert properties.content_type == publication.content_type
    assert (properties.headers or {}) == publication.headers
    assert properties.message_type == publication.type
    for name in ("correlation_id", "reply_to", "priority", "app_id"):
        assert getattr(properties, name) == getattr(publication, name)
    assert b"".join(part.value for _, part in parts) == publication.body
    assert all(len(part.value) <= largest for _, part in parts)
    assert {channel for channel, _ in frames_of(data)} == {number}


@given(
    st.builds(
        Basic.Properties,
        content_type=MAYBE,
        content_encoding=MAYBE,
        headers=st.none() | HEADERS,
        delivery_mode=st.none() | st.sampled_from([1, 2]),
        priority=st.none() | st.integers(0, 255),
        correlation_id=MAYBE,
        reply_to=MAYBE,
        expiration=MAYBE,
        message_id=MAYBE,
        timestamp=st.none() | SECONDS.map(lambda at: datetime.fromtimestamp(at, UTC)),
        message_type=MAYBE,
        user_id=MAYBE,
        app_id=MAYBE,
    ),
    st.integers(0, 2**63 - 1),
)
def test_properties_are_read_as_pamqp_reads_them(properties, size):
    """Each value is found at its position, for any set of properties."""
    frame = pamqp.frame.marshal(ContentHeader(body_size=size, properties=properties), 1)
    _, _, by_pamqp = pamqp.frame.unmarshal(frame)
    assert isinstance(by_pamqp, ContentHeader)
    read_size, read = read_header(frame)
    expected = Properties.of(by_pamqp.properties)
    assert read_size == size
    for name in Properties.__slots__:
        assert getattr(read, name) == getattr(expected, name)


@given(SHORT, st.integers(1, 2**63 - 1), st.booleans(), EXCHANGE, SHORT)
def test_a_delivery_is_read(consumer, tag, redelivered, exchange, key):
    """The origin and the delivery tag are read."""
    read = read_deliver(
        pamqp.frame.marshal(Basic.Deliver(consumer, tag, redelivered, exchange, key), 3)
    )
    found = (read.tag, read.redelivered, read.exchange, read.routing_key)
    assert found == (tag, redelivered, exchange, key)


@given(st.integers(0, 2**63 - 1), st.booleans(), st.sampled_from([Basic.Ack, Basic.Nack]))
def test_a_confirm_is_read(tag, multiple, kind):
    """The tag is read, and whether it includes all tags before it."""
    assert read_confirm(pamqp.frame.marshal(kind(tag, multiple=multiple), 1)) == (tag, multiple)


@given(st.integers(0, 2**63 - 1), st.booleans(), st.integers(1, 65535))
def test_an_ack_is_written_as_pamqp_writes_it(tag, multiple, number):
    """The bytes are equal."""
    expected = pamqp.frame.marshal(Basic.Ack(tag, multiple=multiple), number)
    assert write_ack(number, tag, multiple=multiple) == expected


@given(st.binary(max_size=40), st.integers(0, 0xFFFF))
def test_unreadable_properties_leave_the_body_readable(rubbish, flags):
    """A foreign message must not end the connection."""
    payload = b"\0\x3c\0\0" + (17).to_bytes(8, "big") + flags.to_bytes(2, "big") + rubbish
    frame = b"\2\0\1" + len(payload).to_bytes(4, "big") + payload + b"\xce"
    size, properties = read_header(frame)
    assert size == 17
    assert isinstance(properties, Properties)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"routing_key": "k" * 256}, "routing key has 256 bytes"),
        ({"exchange": "e" * 300}, "exchange has 300 bytes"),
        ({"type": "ü" * 128}, "type has 256 bytes"),
        ({"correlation_id": "\ud800"}, "surrogates"),
    ],
)
def test_what_amqp_cannot_carry_is_refused(change, said):
    """It would end the connection, and with it the confirms of other messages."""
    values = {"exchange": "tasks", "routing_key": "orders", "body": b""} | change
    with pytest.raises(ValueError, match=said):
        write_message(1, Publication(**values), message_id="m", timestamp=0.0, largest=100)


def test_a_content_is_what_was_delivered_before_its_properties_come():
    """A message may have no properties and no body."""
    content = Content(1, False, "", "orders")
    assert content.body == b""
    assert content.properties.headers == {}
    assert ContentBody(content.body).value == b""
