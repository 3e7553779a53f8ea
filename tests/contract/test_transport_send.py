"""Transient messages: sent at once, without a confirm, on both brokers."""

import pytest
from support import eventually

from stem_amqp.errors import UnwritableError
from stem_amqp.transport.publication import Publication


def message(exchange, key="k", body=b"1", **values):
    return Publication(exchange=exchange, routing_key=key, body=body, **values)


async def test_a_sent_message_reaches_the_queues_whose_keys_match(harness, transport):
    """A subscription has several binding keys; messages without a queue are dropped."""
    events = harness.exchange("events", "topic")
    await harness.declare(exchanges=[events])
    inbox = harness.inbox()
    async with transport.subscribe(
        harness.name("one"), inbox, exchange=events.name, keys=("a.#", "b.*"), limit=100
    ):
        for key in ("a.x.y", "b.x.y", "b.x", "c"):
            assert transport.send(message(events.name, key, key.encode()))
        await inbox.until(2)
        await transport.publish(message("", harness.name("one"), body=b"last"))
        await inbox.until(3)
    assert sorted(inbox.bodies) == [b"a.x.y", b"b.x", b"last"]


async def test_a_missing_exchange_does_not_affect_other_publishes(harness, transport):
    """The broker closes the channel of transient messages only."""
    queue = harness.queue("work")
    await harness.declare(queue)
    for _ in range(3):
        transport.send(message(harness.name("absent")))
        await transport.publish(message("", queue.name))
    await harness.ready(queue, 3)


async def test_a_message_that_cannot_be_encoded_is_an_error(harness, transport):
    """A key can have 255 bytes."""
    events = harness.exchange("events", "topic")
    await harness.declare(exchanges=[events])
    inbox = harness.inbox()
    async with transport.subscribe(harness.name("one"), inbox, exchange=events.name, keys=("#",)):
        transport.send(message(events.name))
        await inbox.until(1)
        with pytest.raises(UnwritableError):
            transport.send(message(events.name, "k" * 256))
        assert transport.send(message(events.name, "k" * 255))
        await inbox.until(2)


async def test_nothing_is_sent_without_a_connection(harness, transport):
    """The return value says so; after the recovery messages are sent again."""
    events = harness.exchange("events", "topic")
    await harness.declare(exchanges=[events])
    inbox = harness.inbox()
    async with transport.subscribe(harness.name("one"), inbox, exchange=events.name, keys=("#",)):
        transport.send(message(events.name, body=b"before"))
        await inbox.until(1)
        harness.cut()
        await eventually(
            lambda: transport.send(message(events.name, body=b"after")) and b"after" in inbox.bodies
        )
