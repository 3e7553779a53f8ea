"""The contract of a transport: it recovers from failures, and no message is lost."""

import asyncio
import contextlib
from collections import Counter

import pytest

from stem_amqp.errors import PublishError, StaleDeliveryError
from stem_amqp.topology.entities import Entities
from stem_amqp.transport.publication import Publication


@pytest.fixture
async def queue(harness, transport):
    """Return a quorum queue with an explicit delivery limit, as all of ours have."""
    queue = harness.queue("work", x_delivery_limit=1000)
    await harness.declare(queue)
    return queue


async def test_a_consumer_comes_back_when_its_queue_is_declared_again(harness, transport, queue):
    """The redeclare hook declares a deleted queue, and the consumer consumes again."""
    transport.redeclare = lambda: harness.declare(queue)
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=5, tag="c1")
    await transport.delete(Entities(queues=(queue,)))

    async def consumed():
        status = (await transport.status([queue.name]))[queue.name]
        return status is not None and status.consumers == 1 and consumer.consuming

    await harness.eventually(consumed, "a consumer on the queue")
    await harness.send(queue, b"x")
    await inbox.until(1)
    assert await inbox.ack_all() == [b"x"]


async def test_a_consumer_waits_for_its_queue_when_no_process_declares_it(
    harness, transport, queue
):
    """Without a hook it consumes again once the queue exists again."""
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=5, tag="c1")
    await transport.delete(Entities(queues=(queue,)))
    await harness.eventually(lambda: not consumer.consuming, "the loss of the consumer")
    await harness.declare(queue)
    await harness.send(queue, b"x")
    await inbox.until(1)
    assert await inbox.ack_all() == [b"x"]
    # a delivery may overtake the broker's answer to the consume
    await harness.eventually(lambda: consumer.consuming, "a consumer")


async def test_a_failing_redeclare_is_tried_again(harness, transport, queue):
    """The hook may fail at first; the consumer still recovers."""
    attempts = []

    async def redeclare():
        attempts.append(1)
        if len(attempts) < 3:
            raise PublishError("not yet")
        await harness.declare(queue)

    transport.redeclare = redeclare
    consumer = await transport.consume(queue.name, harness.inbox(), prefetch=5, tag="c1")
    await transport.delete(Entities(queues=(queue,)))
    await harness.eventually(
        lambda: consumer.consuming and len(attempts) >= 3, "a consumer after three attempts"
    )


async def test_a_lost_connection_recovers(harness, transport, queue):
    """Deliveries are stale, their messages are redelivered, and both losses are reported."""
    await harness.send(queue, b"1", b"2", b"3")
    changes = []
    transport.on_connection_change = changes.append
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=2, tag="c1")
    first, second = await inbox.until(2)
    await first.ack()
    await inbox.until(3)
    harness.cut()
    await harness.eventually(lambda: len(inbox) >= 5, "two messages delivered again")
    with pytest.raises(StaleDeliveryError):
        await second.ack()
    again = inbox.deliveries[3:]
    assert [(one.body, one.redelivered) for one in again] == [(b"2", True), (b"3", True)]
    for delivery in again:
        await delivery.ack()
    await harness.eventually(lambda: consumer.consuming, "a consumer")
    await harness.eventually(lambda: len(changes) >= 4, "a report of each change")
    lost, restored = ([one for one in changes if one.restored is back] for back in (False, True))
    assert (
        {one.role for one in lost}
        == {one.role for one in restored}
        == {
            "consuming",
            "publishing",
        }
    )
    assert all(one.error for one in lost)
    assert all(one.downtime >= 0 for one in restored)
    await harness.send(queue, b"4")
    await inbox.until(6)
    await consumer.close()
    await harness.ready(queue, 1)
    assert [one.body for one in await harness.contents(queue)] == [b"4"]


async def test_a_connection_that_is_lost_again_and_again_recovers(harness, transport, queue):
    """It recovers from a second and a third loss like from the first."""
    changes, seen, settling = [], Counter(), set()
    transport.on_connection_change = changes.append

    def on_delivery(delivery):
        seen[delivery.body] += 1
        task = asyncio.ensure_future(delivery.ack())
        settling.add(task)
        task.add_done_callback(settling.discard)

    consumer = await transport.consume(queue.name, on_delivery, prefetch=5, tag="c1")
    for body in (b"1", b"2", b"3"):
        before = len(changes)
        harness.cut()
        await harness.eventually(lambda: len(changes) >= before + 4, "all changes")  # noqa: B023
        await harness.eventually(lambda: consumer.consuming, "a consumer")
        await harness.send(queue, body)
        await harness.eventually(lambda: seen[body] and not settling, body)  # noqa: B023
    # an acknowledgement may have been in flight when the connection was lost
    assert set(seen) == {b"1", b"2", b"3"}


async def test_a_stopped_consumer_does_not_come_back(harness, transport, queue):
    """A stop is final, also through a lost connection."""
    inbox, other = harness.inbox(), harness.inbox()
    stopped = await transport.consume(queue.name, inbox, prefetch=5, tag="stopped")
    going_on = await transport.consume(queue.name, other, prefetch=5, tag="going-on")
    await stopped.stop()
    changes = []
    transport.on_connection_change = changes.append
    harness.cut()
    await harness.eventually(lambda: sum(one.restored for one in changes) >= 2, "the connections")
    await harness.eventually(lambda: going_on.consuming, "the other consumer")
    await harness.send(queue, *[b"x"] * 10)
    await harness.eventually(lambda: len(other) >= 5, "deliveries")
    assert len(inbox) == 0
    assert not stopped.consuming
    await stopped.close()


async def test_a_subscription_comes_back_under_its_name(harness, transport):
    """After a lost connection replies reach the same address."""
    inbox, name = harness.inbox(), harness.name("reply")
    async with transport.subscribe(name, inbox):
        harness.cut()

        async def arrives():
            # messages before the broker noticed the loss are deleted with the old queue
            with contextlib.suppress(PublishError):
                await transport.publish(Publication(exchange="", routing_key=name, body=b"x"))
            return len(inbox)

        await harness.eventually(arrives, "a reply")
        assert set(inbox.bodies) == {b"x"}


async def test_a_subscription_is_bound_to_its_exchange_again(harness, transport):
    """After a lost connection it gets the messages of its exchange as before."""
    control, inbox = harness.exchange("control", "fanout"), harness.inbox()
    await harness.declare(exchanges=[control])
    async with transport.subscribe(harness.name("one"), inbox, exchange=control.name):
        harness.cut()

        async def arrives():
            with contextlib.suppress(PublishError):
                await transport.publish(
                    Publication(exchange=control.name, routing_key="", body=b"x")
                )
            return len(inbox)

        await harness.eventually(arrives, "a copy")


async def test_a_transport_closes_while_its_consumers_queue_is_missing(harness, transport):
    """Closing does not wait for a consumer that is recovering, or cannot recover."""
    for number in range(5):
        queue = harness.queue(f"work-{number}")
        await harness.declare(queue)
        other = await harness.transport()
        consumer = await other.consume(queue.name, harness.inbox(), prefetch=1, tag="c1")
        await transport.delete(Entities(queues=(queue,)))
        if number % 2:
            await harness.eventually(lambda: not consumer.consuming, "a loss")  # noqa: B023
        async with asyncio.timeout(60):
            await other.close()
        assert not consumer.consuming


async def test_two_thousand_messages_come_through_once(harness, transport, queue):
    """Without faults no message is lost or duplicated."""
    bodies = [str(number).encode() for number in range(2000)]
    seen = Counter()
    settling = set()

    def on_delivery(delivery):
        seen[delivery.body] += 1
        task = asyncio.ensure_future(delivery.ack())
        settling.add(task)
        task.add_done_callback(settling.discard)

    consumers = [
        await transport.consume(queue.name, on_delivery, prefetch=50, tag=f"c{number}")
        for number in range(3)
    ]
    await asyncio.gather(
        *(
            transport.publish(Publication(exchange="", routing_key=queue.name, body=body))
            for body in bodies
        )
    )
    await harness.eventually(lambda: len(seen) == len(bodies) and not settling, "all of them")
    for consumer in consumers:
        await consumer.close()
    assert seen == Counter(bodies)
    assert await harness.contents(queue) == []


async def test_nothing_is_lost_when_connections_break_under_load(harness, transport, queue):
    """Every confirmed message is delivered, some perhaps twice."""
    seen, confirmed, settling = Counter(), [], set()

    async def settle(delivery):
        try:
            await delivery.ack()
        except StaleDeliveryError:
            return
        seen[delivery.body] += 1

    def on_delivery(delivery):
        task = asyncio.ensure_future(settle(delivery))
        settling.add(task)
        task.add_done_callback(settling.discard)

    await transport.consume(queue.name, on_delivery, prefetch=20, tag="c1")

    async def send(number):
        body = str(number).encode()
        try:
            await transport.publish(Publication(exchange="", routing_key=queue.name, body=body))
        except PublishError:
            return
        confirmed.append(body)

    for start in range(0, 600, 200):
        before = len(confirmed)  # fewer than were sent: a loss fails those in flight
        sending = [asyncio.create_task(send(number)) for number in range(start, start + 200)]
        await harness.eventually(lambda: len(confirmed) > before, "some confirms")  # noqa: B023
        harness.cut()
        await asyncio.gather(*sending)
    await harness.eventually(lambda: set(confirmed) <= set(seen), "every confirmed message")
    assert len(confirmed) > 3
