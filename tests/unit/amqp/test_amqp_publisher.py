"""Publishing to a broker that refuses, stalls and disconnects."""

import asyncio

import pytest
from pamqp import commands

from stem_amqp.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    PublishError,
    PublishRefusedError,
    PublishTimeoutError,
    UnroutableError,
)
from stem_amqp.transport.amqp import link
from stem_amqp.transport.amqp import transport as transport_module
from stem_amqp.transport.publication import Publication


def message(body=b"x", key="orders", exchange="tasks", **more):
    return Publication(exchange=exchange, routing_key=key, body=body, **more)


async def test_a_message_is_persistent_mandatory_and_has_its_properties(scripted, connect):
    """The properties are those of rule 2."""
    transport = await connect()
    await transport.publish(
        message(
            type="orders.sync",
            correlation_id="c",
            reply_to="r",
            priority=3,
            app_id="stem",
            headers={"n": 1, "binary": b"\xff"},
        )
    )
    await transport.publish(message())
    first, second = scripted.published
    assert first.frame.mandatory
    properties = first.header.properties
    assert properties.delivery_mode == 2
    assert (properties.message_type, properties.correlation_id) == ("orders.sync", "c")
    assert (properties.reply_to, properties.priority, properties.app_id) == ("r", 3, "stem")
    assert properties.content_type == "application/json"
    assert properties.headers == {"n": 1, "binary": b"\xff"}
    assert properties.timestamp.timestamp() == pytest.approx(transport.clock.time(), abs=5)
    assert properties.message_id
    assert properties.message_id != second.header.properties.message_id


async def test_a_nacked_message_is_an_error(scripted, connect):
    """A full or unavailable queue does not lose messages silently."""
    scripted.on_publish = lambda channel, tag, _: channel.send(commands.Basic.Nack(tag))
    transport = await connect()
    with pytest.raises(PublishRefusedError, match=r"exchange 'tasks' with routing key 'orders'"):
        await transport.publish(message())


async def test_a_returned_message_is_an_error_though_it_is_confirmed(scripted, connect):
    """The broker confirms a message that it returned, which is no success."""

    def return_message(channel, tag, message):
        channel.send(
            commands.Basic.Return(312, "NO_ROUTE", "tasks", "orders"),
            message.header,
            pamqp_body(message.body),
            commands.Basic.Ack(tag),
        )

    scripted.on_publish = return_message
    transport = await connect()
    with pytest.raises(UnroutableError, match="NO_ROUTE"):
        await transport.publish(message())


def pamqp_body(content):
    from pamqp.body import ContentBody

    return ContentBody(content)


@pytest.mark.parametrize(
    ("code", "text", "error", "guilty"),
    [
        (404, "NOT_FOUND - no exchange 'gone' in vhost '/'", UnroutableError, {"exchange": "gone"}),
        (
            403,
            "ACCESS_REFUSED - write access to exchange 'gone' in vhost '/' refused for user 'u'",
            BrokerRefusedError,
            {"exchange": "gone"},
        ),
        (
            403,
            "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'u'",
            BrokerRefusedError,
            {"exchange": ""},
        ),
        (
            403,
            "ACCESS_REFUSED - write access to topic 'secret' in exchange 'tasks' in vhost '/' r",
            BrokerRefusedError,
            {"key": "secret"},
        ),
        (
            406,
            "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000",
            PublishRefusedError,
            {"body": b"x" * 2000},
        ),
    ],
)
async def test_only_the_publish_that_the_broker_objects_to_fails(
    scripted, connect, code, text, error, guilty
):
    """The shared channel is closed, and all other messages in flight on it are published again."""
    bad = message(**guilty)

    def object_to(channel, tag, message):
        found = (message.frame.exchange, message.frame.routing_key, message.body)
        if found == (bad.exchange, bad.routing_key, bad.body):
            channel.close(code, text)
        elif len(scripted.links[0].channels) or tag > 5:
            channel.send(commands.Basic.Ack(tag))

    scripted.on_publish = object_to
    transport = await connect()
    good = [transport.publish(message(body=b"%d" % number)) for number in range(20)]
    results = await asyncio.gather(
        *good[:10], transport.publish(bad), *good[10:], return_exceptions=True
    )
    assert isinstance(results.pop(10), error)
    assert results == [None] * 20


async def test_a_channel_that_is_always_closed_is_no_endless_loop(scripted, connect):
    """If no message is named, the publish fails after a few attempts."""
    scripted.on_publish = lambda channel, *_: channel.close(541, "INTERNAL_ERROR")
    transport = await connect()
    with pytest.raises(PublishRefusedError, match="INTERNAL_ERROR"):
        await transport.publish(message())
    assert len(scripted.published) == 3


async def test_no_channel_number_is_used_twice(scripted, connect):
    """A late frame of a closed channel would count on the next one, and shift its confirms."""

    def object_to(channel, tag, message):
        if message.body == b"bad":
            channel.close(406, "PRECONDITION_FAILED - message size 3 is larger than")
        else:
            channel.send(commands.Basic.Ack(tag))

    scripted.on_publish = object_to
    transport = await connect()
    stop = asyncio.Event()

    async def keep_publishing():
        while not stop.is_set():
            await transport.publish(message(body=b"good"))

    publishing = asyncio.gather(*(keep_publishing() for _ in range(7)))
    for _ in range(20):
        with pytest.raises(PublishRefusedError):
            await transport.publish(message(body=b"bad"))
    stop.set()
    await publishing
    assert scripted.strays == []
    assert max(scripted.publishing.channels) == 21


async def test_a_lost_confirm_is_published_again_with_the_same_message_id(
    scripted, connect, eventually
):
    """The message may exist twice, but is never lost, and can be recognised by its id."""
    scripted.on_publish = lambda *_: None
    transport = await connect()
    publishing = asyncio.create_task(transport.publish(message()))
    await eventually(lambda: scripted.published, "the first attempt")
    scripted.on_publish = scripted.confirm
    scripted.cut()
    await publishing
    first, second = scripted.published
    assert first.header.properties.message_id == second.header.properties.message_id
    assert not first.header.properties.headers
    assert second.header.properties.headers == {"stem-repeated": True}


async def test_no_confirm_in_time_says_that_the_message_may_have_arrived(scripted, connect):
    """The outcome is unknown, and the error says so."""
    scripted.on_publish = lambda *_: None
    transport = await connect(publish_timeout=0.1)
    with pytest.raises(PublishTimeoutError, match="may or may not") as caught:
        await transport.publish(message())
    assert "alarm" not in str(caught.value)


async def test_a_blocking_broker_is_named_as_the_reason(scripted, connect):
    """The error hints at a memory or disk alarm."""

    def block(channel, *_):
        channel.link.send(0, commands.Connection.Blocked("low on memory"))

    scripted.on_publish = block
    transport = await connect(publish_timeout=0.2)
    with pytest.raises(PublishTimeoutError, match="memory or disk alarm"):
        await transport.publish(message())


async def test_without_a_connection_it_certainly_was_not_sent(scripted, connect, eventually):
    """The error differs from that of an unknown outcome."""
    transport = await connect(publish_timeout=0.2)
    changes = []
    transport.on_connection_change = changes.append
    await scripted.stop()
    await eventually(lambda: changes, "the loss")
    with pytest.raises(BrokerUnavailableError, match="was not sent"):
        await transport.publish(message())


async def test_a_transport_that_is_closed_publishes_nothing(scripted, connect):
    """It fails at once, without waiting for the timeout."""
    transport = await connect(publish_timeout=60)
    await transport.close()
    with pytest.raises(BrokerUnavailableError, match="closed"):
        await transport.publish(message())


async def test_what_cannot_be_written_as_amqp_is_a_publish_error(scripted, connect):
    """The error names the header, and the channel stays open."""
    transport = await connect()
    with pytest.raises(PublishError, match="strange"):
        await transport.publish(message(headers={"strange": object()}))
    with pytest.raises(PublishError, match="255"):
        await transport.publish(message(key="k" * 256))
    await transport.publish(message())
    assert len(scripted.published) == 1


async def test_a_cancelled_publish_is_cancelled(scripted, connect, eventually):
    """The caller's cancellation is not a lost connection: the message is not published again."""
    scripted.on_publish = lambda *_: None
    transport = await connect()
    publishing = asyncio.create_task(transport.publish(message()))
    await eventually(lambda: scripted.published, "the publish")
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    scripted.on_publish = scripted.confirm
    await transport.publish(message(body=b"next"))
    assert [one.body for one in scripted.published] == [b"x", b"next"]


async def test_a_full_socket_holds_nothing_up_for_ever(scripted, connect, eventually):
    """Messages that wait to be written to a dead connection are published on the next one."""
    transport = await connect(publish_timeout=10)
    await transport.publish(message())
    scripted.deaf = True
    scripted.publishing.writer.transport.pause_reading()
    big = b"x" * 200_000
    publishing = [asyncio.create_task(transport.publish(message(body=big))) for _ in range(100)]
    await eventually(lambda: transport._publishing.congested, "a full socket")
    scripted.deaf = False
    scripted.cut()
    await asyncio.gather(*publishing)
    assert len([one for one in scripted.published if one.body == big]) >= 100


async def test_publishes_end_when_the_transport_is_closed_under_them(
    scripted, connect, monkeypatch
):
    """This includes those that wait for room in the queue of a connection that is not read."""
    monkeypatch.setattr(transport_module, "CLOSE_TIMEOUT", 0.3)
    monkeypatch.setattr(link, "CLOSE_TIMEOUT", 0.3)
    transport = await connect(publish_timeout=60)
    await transport.publish(message())
    scripted.deaf = True
    async with asyncio.timeout(60):
        closing = asyncio.create_task(transport.close())
        publishing = []
        while not closing.done():
            publishing += [asyncio.create_task(transport.publish(message())) for _ in range(5)]
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*publishing, return_exceptions=True)
    assert {type(result) for result in results} <= {BrokerUnavailableError, PublishTimeoutError}
