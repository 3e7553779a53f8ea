"""Consuming from a broker that cancels, closes, or stops responding."""

import asyncio
import logging
from importlib.metadata import PackageNotFoundError, version

import pytest
from pamqp import commands

from stem_amqp.errors import BrokerUnavailableError, StaleDeliveryError
from stem_amqp.transport.amqp import consumer as consumer_module
from stem_amqp.transport.amqp import session


@pytest.fixture
def inbox():
    return []


@pytest.fixture
async def consume(scripted, connect, inbox):
    """Consume, and return transport, consumer and the broker's side of the channel."""

    async def consume(**options):
        transport = await connect()
        consumer = await transport.consume(
            "q", inbox.append, **({"prefetch": 10, "tag": "c1"} | options)
        )
        return transport, consumer, scripted.consuming[-1]

    return consume


def settled(channel):
    """Return what was settled on a channel, as short tuples."""
    return [
        (type(frame).__name__, frame.delivery_tag, getattr(frame, "multiple", False))
        for frame in channel.settled
    ]


async def test_a_delivery_has_what_the_broker_sent(consume, inbox, eventually):
    """Missing properties are None, and missing headers are an empty table."""
    _, consumer, channel = await consume()
    channel.deliver("c1", 1, b"")
    channel.deliver("c1", 2, b"body")
    await eventually(lambda: len(inbox) == 2, "two deliveries")
    empty, full = inbox
    assert (empty.body, full.body) == (b"", b"body")
    assert (full.exchange, full.routing_key, full.redelivered) == ("", "q", False)
    assert (full.type, full.timestamp, full.priority, full.headers) == (None, None, None, {})
    assert consumer.consuming


async def test_acks_without_a_gap_are_one_frame(consume, inbox, eventually):
    """They are settled in one iteration of the loop, with no unsettled delivery before them."""
    _, _, channel = await consume()
    for tag in range(1, 8):
        channel.deliver("c1", tag)
    await eventually(lambda: len(inbox) == 7, "deliveries")
    for tag in (3, 1, 2, 5, 7):
        await inbox[tag - 1].ack()
    await eventually(lambda: len(channel.settled) == 3, "acks")
    assert settled(channel) == [("Ack", 3, True), ("Ack", 5, False), ("Ack", 7, False)]


async def test_an_ack_never_covers_what_is_returned_in_the_same_turn(consume, inbox, eventually):
    """Returns are written first, so that the frame for many acks does not include them."""
    _, _, channel = await consume()
    for tag in range(1, 5):
        channel.deliver("c1", tag)
    await eventually(lambda: len(inbox) == 4, "deliveries")
    await inbox[0].ack()
    await inbox[3].ack()
    await inbox[1].nack(requeue=True)
    await inbox[2].reject(requeue=False)
    await eventually(lambda: len(channel.settled) == 3, "settlements")
    assert settled(channel) == [("Nack", 2, False), ("Reject", 3, False), ("Ack", 4, True)]
    assert [frame.requeue for frame in channel.settled[:2]] == [True, False]


async def test_an_unseen_delivery_is_never_acked_with_others(consume, inbox, eventually):
    """After a gap in the delivery tags, one frame no longer acknowledges many."""
    _, _, channel = await consume()
    channel.deliver("c1", 1)
    channel.deliver("c1", 3)
    await eventually(lambda: len(inbox) == 2, "deliveries")
    await inbox[0].ack()
    await inbox[1].ack()
    await eventually(lambda: len(channel.settled) == 2, "acks")
    assert settled(channel) == [("Ack", 1, False), ("Ack", 3, False)]


async def test_a_delivery_is_settled_once(consume, inbox, eventually):
    """The second time, the broker would close the channel with all its unsettled deliveries."""
    _, _, channel = await consume()
    channel.deliver("c1", 1)
    await eventually(lambda: inbox, "the delivery")
    await inbox[0].ack()
    with pytest.raises(StaleDeliveryError, match="already settled"):
        await inbox[0].nack(requeue=True)


async def test_a_callback_that_fails_returns_its_delivery(scripted, connect, eventually, caplog):
    """The delivery counts as failed and does not block the queue."""

    def broken(delivery):
        raise ValueError("bug")

    transport = await connect()
    await transport.consume("q", broken, prefetch=1, tag="c1")
    (channel,) = scripted.consuming
    channel.deliver("c1", 1)
    await eventually(lambda: channel.settled, "the return")
    assert settled(channel) == [("Reject", 1, False)]
    assert channel.settled[0].requeue
    assert "on_delivery failed for q" in caplog.text


async def test_a_consumer_cancelled_by_the_broker_consumes_again(
    scripted, consume, inbox, eventually
):
    """It gets a new channel; earlier deliveries can still be settled on the old one."""
    transport, consumer, old = await consume()
    changes = []
    transport.on_connection_change = changes.append
    old.deliver("c1", 1)
    await eventually(lambda: inbox, "the delivery")
    old.send(commands.Basic.Cancel("c1", True))
    await eventually(lambda: len(scripted.consuming) == 2, "a second consumer")
    await eventually(lambda: consumer.consuming and len(changes) == 2, "its report")
    new = scripted.consuming[-1]
    assert new.number != old.number
    assert [(one.restored, one.role) for one in changes] == [
        (False, "consuming"),
        (True, "consuming"),
    ]
    assert "cancelled" in changes[0].error
    await inbox[0].ack()
    await eventually(lambda: settled(old) == [("Ack", 1, False)], "the late ack")
    new.deliver("c1", 1)
    await eventually(lambda: len(inbox) == 2, "a delivery to the new one")


async def test_a_consumer_whose_channel_is_closed_consumes_again(
    scripted, consume, inbox, eventually
):
    """A consumer timeout before RabbitMQ 4.3 does this; deliveries of the channel are stale."""
    _, consumer, channel = await consume()
    channel.deliver("c1", 1)
    await eventually(lambda: inbox, "the delivery")
    channel.close(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out")
    await eventually(lambda: len(scripted.consuming) == 2 and consumer.consuming, "a consumer")
    with pytest.raises(StaleDeliveryError, match="again"):
        await inbox[0].ack()


async def test_an_exclusive_queue_that_stays_locked_gets_another_name(
    scripted, connect, eventually, monkeypatch, caplog
):
    """A cluster keeps the queues of a dead node locked; a shorter lock is waited for."""
    monkeypatch.setattr(consumer_module, "LOCKED", 0.0)
    transport, renamed = await connect(), []
    async with transport.subscribe("replies", print, on_renamed=renamed.append) as name:
        assert name == "replies"
        scripted.locked.add("replies")
        scripted.cut()
        await eventually(lambda: renamed == ["replies.2"], "a new name")
        await eventually(lambda: len(scripted.consuming) == 2, "a consumer on it")
    assert "queue replies remains locked by a lost connection: consuming replies.2" in caplog.text


async def test_an_exclusive_queue_keeps_its_name_through_a_short_lock(
    scripted, connect, eventually, caplog
):
    """The broker notices a lost connection later than the client."""
    transport, renamed = await connect(), []
    caplog.set_level(logging.INFO)
    async with transport.subscribe("replies", print, on_renamed=renamed.append):
        scripted.locked.add("replies")
        scripted.cut()
        await eventually(lambda: "RESOURCE_LOCKED" in caplog.text, "a refusal")
        scripted.locked.clear()
        await eventually(lambda: len(scripted.consuming) == 2, "a consumer on it")
    assert renamed == []


async def test_a_consumer_that_vanished_without_a_word_is_noticed(
    scripted, consume, eventually, monkeypatch
):
    """The watchdog checks for it, because the broker sends nothing."""
    monkeypatch.setattr(session, "WATCH", 0.02)
    _, consumer, _ = await consume()
    consumer._session._channel.consumers.clear()
    assert not consumer.consuming
    await eventually(lambda: len(scripted.consuming) == 2 and consumer.consuming, "a consumer")


async def test_a_silent_broker_is_given_up_after_two_heartbeats(scripted, connect, eventually):
    """A broken cable sends no reset: only the missing frames show it."""
    transport = await connect(heartbeat=1, connect_timeout=0.5)
    changes = []
    transport.on_connection_change = changes.append
    scripted.deaf = True
    await eventually(lambda: changes, "the loss")
    assert "no data from the broker" in changes[0].error
    scripted.deaf = False
    await eventually(lambda: len(changes) == 2, "the restoration")
    assert changes[1].restored
    assert changes[1].downtime > 0


async def test_a_close_by_the_broker_is_reported_with_its_reason(
    scripted, consume, eventually, caplog
):
    """The log has the operator's text, and not aiormq's own errors."""
    caplog.set_level(logging.INFO)
    transport, consumer, channel = await consume()
    changes = []
    transport.on_connection_change = changes.append
    text = "CONNECTION_FORCED - maintenance"
    channel.link.send(0, commands.Connection.Close(320, text, 0, 0))
    await eventually(lambda: changes and consumer.consuming, "the recovery")
    assert changes[0].error == text
    assert changes[0].role == "consuming"
    assert "consuming connection to" in caplog.text
    assert "restored" in caplog.text
    assert {record.name for record in caplog.records} == {"stem_amqp.transport"}


async def test_a_failing_observer_does_not_stop_the_recovery(scripted, consume, eventually, caplog):
    """Its error is logged."""

    def broken(change):
        raise ValueError("bug")

    transport, consumer, _ = await consume()
    transport.on_connection_change = broken
    scripted.cut()
    await eventually(lambda: len(scripted.consuming) == 2 and consumer.consuming, "a consumer")
    assert "on_connection_change failed" in caplog.text


async def test_a_connection_names_itself(scripted, connect):
    """The management UI shows the name in its list, and all of it on the connection's page."""
    transport = await connect(name="stem-amqp shop host:1", namespace="shop")
    await transport.consume("q", print, prefetch=1, tag="c1")
    for said, role in zip(scripted.introduced, ("publishing", "consuming"), strict=True):
        assert said["connection_name"] == f"stem-amqp shop host:1 {role}"
        assert (said["product"], said["version"]) == ("stem-amqp", version("stem-amqp"))
        assert (said["role"], said["namespace"]) == (role, "shop")
        assert "aiormq" in said["information"]
        assert said["capabilities"]["consumer_cancel_notify"]


async def test_a_source_tree_that_is_not_installed_connects_too(scripted, connect, monkeypatch):
    """It has no version to show."""

    def uninstalled(name):
        if name == "stem-amqp":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("stem_amqp.transport.amqp.connection.version", uninstalled)
    await connect(name="app")
    assert scripted.introduced[0]["version"] == "unknown"


async def test_an_alarm_does_not_stop_what_is_asked_for(scripted, connect):
    """A health check would otherwise wait on a blocked connection."""
    transport = await connect(name="app")
    await transport.status(["before"])
    await transport.consume("q", print, prefetch=1, tag="c1")
    await transport.status(["after"])
    assert scripted.asked == [("app publishing", "before"), ("app consuming", "after")]


async def test_a_broker_older_than_supported_is_a_warning(scripted, connect, caplog):
    """It may work, but is not tested."""
    scripted.version = "3.9.29"
    transport = await connect()
    assert (await transport.connect()).version == (3, 9, 29)
    assert "older than" in caplog.text


async def test_closing_leaves_nothing_behind(scripted, consume, inbox, eventually):
    """No task outlives the transport, whatever the broker does."""
    transport, _, channel = await consume()
    channel.deliver("c1", 1)
    await eventually(lambda: inbox, "the delivery")
    channel.send(commands.Basic.Cancel("c1", True))
    await eventually(lambda: len(scripted.consuming) == 2, "a second consumer")
    before = asyncio.all_tasks()
    await transport.close()
    await transport.close()
    ours = [one for one in before if one.get_name().startswith("stem-amqp")]
    assert ours
    assert all(one.done() for one in ours)
    with pytest.raises(StaleDeliveryError):
        await inbox[0].ack()


async def test_late_deliveries_to_an_abandoned_channel_delay_no_other_channel(scripted, connect):
    """They must not block the reader that all channels of the connection share."""

    def answer_late(channel):
        channel.send(commands.Basic.ConsumeOk("c1"))
        for tag in range(1, 101):
            channel.deliver("c1", tag)

    scripted.answers_consume = False
    scripted.before_close_ok = answer_late
    transport = await connect(connect_timeout=0.3)
    with pytest.raises(BrokerUnavailableError):
        await transport.consume("q", lambda _: None, prefetch=1, tag="c1")
    scripted.answers_consume = True
    async with asyncio.timeout(60):
        consumer = await transport.consume("q", lambda _: None, prefetch=1, tag="c2")
    assert consumer.consuming
