"""No frame is written to a channel that is not open: the broker would close the whole connection."""

import asyncio

import pamqp.frame
import pytest
from pamqp import commands

from stem_amqp.errors import BrokerRefusedError, StaleDeliveryError
from stem_amqp.transport.amqp import session
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.open_channels import OpenChannels

TURNS = 40
"""More turns of the event loop than aiormq needs to process the broker's close of a channel."""


def written(number, *frames):
    """Return frames as aiormq writes them."""
    return b"".join(pamqp.frame.marshal(frame, number) for frame in frames)


def test_only_frames_of_open_channels_are_admitted():
    """A channel is open from its open to its close, whoever closes it, and may be opened again."""
    closed = []
    channels = OpenChannels(closed.append)
    opening, closing = commands.Channel.Open(), commands.Channel.Close(200, "", 0, 0)
    qos, reply = commands.Basic.Qos(prefetch_count=1), commands.Channel.CloseOk()
    assert channels.admitted(written(1, qos)) == b""
    assert channels.admitted(written(1, opening, qos)) == written(1, opening, qos)
    assert channels.admitted(written(1, qos, closing, qos, closing)) == written(1, qos, closing)
    assert closed == [1]
    assert channels.admitted(written(1, opening)) == written(1, opening)
    assert channels.admitted(written(1, reply)) == b""
    channels.closed(1)
    assert channels.admitted(written(1, qos, closing, reply)) == b""
    assert closed == [1]


def test_frames_of_the_connection_are_always_admitted():
    """They belong to channel 0, and the protocol header to none."""
    channels = OpenChannels(pytest.fail)
    for data in (b"AMQP\x00\x00\x09\x01", written(0, commands.Connection.CloseOk())):
        assert channels.admitted(data) == data


@pytest.mark.parametrize("turns", range(TURNS))
async def test_checks_that_are_cancelled_as_the_broker_refuses_them_write_nothing_more(
    scripted, connect, eventually, turns
):
    """aiormq closes the channel of a cancelled call, even one that the broker has just closed."""
    transport = await connect()
    names = [f"q{number}" for number in range(8)]
    scripted.locked.update(names)
    check = asyncio.create_task(transport.status(names))
    await eventually(lambda: scripted.asked, "a refusal")
    for _ in range(turns):
        await asyncio.sleep(0)
    check.cancel()
    with pytest.raises((asyncio.CancelledError, BrokerRefusedError)):
        await check
    scripted.locked.clear()
    assert len(await transport.status(names)) == len(names)
    assert scripted.strays == []
    assert all(link.closing == set() for link in scripted.links), "a close has no reply"


async def test_a_consumer_that_the_broker_cancels_on_a_closing_channel_gets_no_reply(
    scripted, connect
):
    """RabbitMQ 4.3 wants a reply to its cancellation; the channel is closed when it would arrive."""
    scripted.capabilities["accept_consumer_cancel_ok"] = True
    transport = await connect()
    consumer = await transport.consume("q", print, prefetch=1, tag="c1")
    scripted.before_close_ok = lambda channel: channel.send(commands.Basic.Cancel("c1", True))
    await close_channel(consumer._session._channel)
    await transport.status(["q"])
    assert scripted.strays == []


async def test_a_delivery_is_stale_once_the_channel_is_being_closed(
    scripted, connect, eventually, monkeypatch
):
    """If the broker does not confirm in time that a consumer is cancelled, the channel is closed."""
    monkeypatch.setattr(session, "CLOSE_TIMEOUT", 0.02)
    transport, inbox, settling = await connect(), [], []
    consumer = await transport.consume("q", inbox.append, prefetch=1, tag="c1")
    scripted.consuming[-1].deliver("c1", 1)
    await eventually(lambda: inbox, "the delivery")
    scripted.answers_cancel = False
    scripted.before_close_ok = lambda _: settling.append(asyncio.ensure_future(inbox[0].ack()))
    await consumer.stop()
    await eventually(lambda: settling, "the close of the channel")
    with pytest.raises(StaleDeliveryError, match="delivers the message again"):
        await settling[0]
    await transport.status(["q"])
    assert scripted.strays == []
