"""A broker that refuses messages: the channel is replaced, and no confirm is lost."""

import asyncio

import pytest
from support import eventually

from stem_amqp.errors import PublishRefusedError
from stem_amqp.transport.amqp import publishing_channels
from stem_amqp.transport.publication import Publication


@pytest.fixture
async def full(rabbitmq):
    """Return a transport, a queue that refuses a second message, and a function that publishes."""
    transport = await rabbitmq.transport()
    queue = rabbitmq.queue("full", x_max_length=1, x_overflow="reject-publish")
    await rabbitmq.declare(queue)

    async def publish():
        await transport.publish(Publication(exchange="", routing_key=queue.name, body=b"1"))

    async def refused():
        try:
            await publish()
        except PublishRefusedError:
            return True
        return False

    await eventually(refused, "a refusal")  # the limit is soft
    return transport, queue, publish


def channel_of(transport):
    """Return the channel on which the transport currently publishes."""
    return transport._publisher._channels.ready("")


async def test_refused_messages_do_not_use_up_channels(full):
    """A newly opened channel stays in use, for any number of refusals."""
    transport, _, publish = full
    first = channel_of(transport)
    for _ in range(5):
        with pytest.raises(PublishRefusedError):
            await publish()
    assert channel_of(transport) is first


async def test_after_a_refusal_the_next_message_goes_over_another_channel(
    rabbitmq, full, monkeypatch
):
    """The old channel is closed when it has no outstanding confirm."""
    transport, queue, publish = full
    first = channel_of(transport)
    monkeypatch.setattr(publishing_channels, "RENEWAL", 0.0)
    answers = await asyncio.gather(*(publish() for _ in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {PublishRefusedError}
    await eventually(lambda: not first.open, "the old channel's end")
    await rabbitmq.contents(queue)
    await eventually(lambda: accepted(publish), "room in the queue")
    assert channel_of(transport) not in {None, first}


async def accepted(publish):
    """Return whether a message was accepted."""
    try:
        await publish()
    except PublishRefusedError:
        return False
    return True
