"""The contract of a transport: consuming, settling, browsing and replies."""

import asyncio
import itertools

import pytest

from stem_amqp.errors import BrokerRefusedError, StaleDeliveryError, TopologyMissingError
from stem_amqp.transport.publication import Publication


@pytest.fixture
async def queue(harness, transport):
    """Return a quorum queue with an explicit delivery limit, as all of ours have."""
    queue = harness.queue("work", x_delivery_limit=1000)
    await harness.declare(queue)
    return queue


@pytest.fixture
def consume(harness, transport, queue):
    """Consume the queue into an inbox."""
    tags = (f"c{number}" for number in itertools.count(1))

    async def start(prefetch=10, **options):
        inbox = harness.inbox()
        return inbox, await transport.consume(
            queue.name, inbox, prefetch=prefetch, tag=next(tags), **options
        )

    return start


async def test_messages_arrive_in_order(harness, queue, consume):
    """The queue is first in, first out."""
    bodies = [str(number).encode() for number in range(50)]
    await harness.send(queue, *bodies)
    inbox, _ = await consume(prefetch=50)
    await inbox.until(50)
    assert await inbox.ack_all() == bodies


async def test_prefetch_limits_what_is_unsettled(harness, queue, consume):
    """At most prefetch deliveries are unsettled, and each settled one makes room."""
    await harness.send(queue, b"1", b"2", b"3", b"4", b"5")
    inbox, consumer = await consume(prefetch=2)
    first, _ = await inbox.until(2)
    await harness.ready(queue, 3)
    assert len(inbox) == 2
    await first.ack()
    await inbox.until(3)
    await harness.ready(queue, 2)
    assert inbox.bodies == [b"1", b"2", b"3"]
    assert (consumer.queue, consumer.prefetch) == (queue.name, 2)


async def test_settling_in_any_way_makes_room(harness, queue, consume):
    """Ack, nack and reject each free one place of the prefetch."""
    await harness.send(queue, b"1", b"2", b"3", b"4")
    inbox, _ = await consume(prefetch=1)
    await (await inbox.until(1))[0].ack()
    await (await inbox.until(2))[1].nack(requeue=False)
    await (await inbox.until(3))[2].reject(requeue=False)
    await (await inbox.until(4))[3].ack()
    assert inbox.bodies == [b"1", b"2", b"3", b"4"]
    await harness.ready(queue, 0)


async def test_settling_out_of_order_settles_the_right_ones(harness, queue, consume):
    """Each delivery is settled alone, in any order."""
    await harness.send(queue, *[str(number).encode() for number in range(10)])
    inbox, consumer = await consume(prefetch=10)
    deliveries = await inbox.until(10)
    await asyncio.gather(*(deliveries[number].ack() for number in (9, 1, 5, 0, 3)))
    await consumer.close()
    await harness.ready(queue, 5)
    left = [one.body for one in await harness.contents(queue)]
    assert left == [b"2", b"4", b"6", b"7", b"8"]


@pytest.mark.parametrize("way", ["nack", "reject"])
async def test_a_returned_message_is_next_and_marked_as_redelivered(harness, queue, consume, way):
    """A requeued message goes to the front, and its delivery is marked as redelivered."""
    await harness.send(queue, b"1", b"2", b"3")
    inbox, _ = await consume(prefetch=1)
    (first,) = await inbox.until(1)
    assert not first.redelivered
    await getattr(first, way)(requeue=True)
    again = (await inbox.until(2))[1]
    assert (again.body, again.redelivered) == (b"1", True)
    await again.ack()
    fresh = (await inbox.until(3))[2]
    assert (fresh.body, fresh.redelivered) == (b"2", False)


async def test_several_returned_messages_keep_their_order(harness, queue, consume):
    """If they are returned in their order, they are delivered again in that order."""
    await harness.send(queue, b"1", b"2", b"3", b"4")
    inbox, consumer = await consume(prefetch=3)
    deliveries = await inbox.until(3)
    await consumer.stop()
    for delivery in deliveries:
        await delivery.nack(requeue=True)
    await harness.ready(queue, 4)
    assert [one.body for one in await harness.contents(queue)] == [b"1", b"2", b"3", b"4"]


async def test_consumers_share_the_work(harness, queue, consume):
    """Two consumers get messages in turn."""
    one, _ = await consume(prefetch=10)
    two, _ = await consume(prefetch=10)
    await harness.send(queue, *[str(number).encode() for number in range(10)])
    await harness.eventually(lambda: len(one) + len(two) == 10, "ten deliveries")
    assert sorted(one.bodies + two.bodies) == [str(number).encode() for number in range(10)]
    assert len(one) == len(two) == 5


async def test_a_stopped_consumer_can_still_settle(harness, queue, consume):
    """After stop no message is delivered, and earlier deliveries can be acknowledged."""
    await harness.send(queue, b"1", b"2", b"3")
    inbox, consumer = await consume(prefetch=2)
    first, second = await inbox.until(2)
    assert consumer.consuming
    await consumer.stop()
    assert not consumer.consuming
    await first.ack()
    await second.nack(requeue=True)
    await harness.ready(queue, 2)
    assert len(inbox) == 2
    await consumer.close()
    await consumer.close()


async def test_a_closed_consumer_requeues_unsettled_deliveries(harness, queue, consume):
    """Close requeues unsettled deliveries, which cannot be settled afterwards."""
    await harness.send(queue, b"1", b"2")
    inbox, consumer = await consume()
    first, second = await inbox.until(2)
    await first.ack()
    await consumer.close()
    for settle in (second.ack(), second.nack(requeue=True), second.reject(requeue=False)):
        with pytest.raises(StaleDeliveryError):
            await settle
    again, _ = await consume()
    (delivery,) = await again.until(1)
    assert (delivery.body, delivery.redelivered) == (b"2", True)


async def test_a_closed_transport_requeues_unsettled_deliveries(harness, queue):
    """Closing the transport closes all its consumers."""
    await harness.send(queue, b"1")
    other = await harness.transport()
    inbox = harness.inbox()
    await other.consume(queue.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    await other.close()
    with pytest.raises(StaleDeliveryError):
        await delivery.ack()
    await harness.ready(queue, 1)


async def test_consuming_a_queue_that_does_not_exist_is_an_error(harness, transport):
    """The error names the queue, and other consumers go on."""
    with pytest.raises(TopologyMissingError, match="absent"):
        await transport.consume(harness.name("absent"), print, prefetch=1, tag="c1")


async def test_consume_declares_what_is_missing(harness, transport):
    """With a redeclare hook a missing queue is declared before consuming."""
    queue = harness.queue("late")
    transport.redeclare = lambda: harness.declare(queue)
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    assert consumer.consuming
    await harness.send(queue, b"x")
    await inbox.until(1)


async def test_an_exclusive_consumer_of_a_classic_queue_is_the_only_one(harness, transport):
    """A second consumer is refused while an exclusive one exists, and accepted afterwards."""
    queue = harness.queue("classic", x_queue_type="classic")
    await harness.declare(queue)

    async def consume(tag, **options):
        return await transport.consume(queue.name, print, prefetch=1, tag=tag, **options)

    first = await consume("first", exclusive=True)
    with pytest.raises(BrokerRefusedError, match="exclusive"):
        await consume("second")
    await first.close()
    third = await consume("third", exclusive=True)
    assert third.consuming


async def test_a_quorum_queue_has_no_exclusive_consumers(harness, transport, queue):
    """RabbitMQ ignores the argument; such a queue offers a single active consumer."""
    await transport.consume(queue.name, print, prefetch=1, tag="first", exclusive=True)
    second = await transport.consume(queue.name, print, prefetch=1, tag="second", exclusive=True)
    assert second.consuming


async def test_a_single_active_consumer_is_followed_by_the_next(harness, transport):
    """Only the first consumer gets messages until it is closed."""
    queue = harness.queue("one-by-one", x_single_active_consumer=True)
    await harness.declare(queue)
    first, second = harness.inbox(), harness.inbox()
    leading = await transport.consume(queue.name, first, prefetch=10, tag="first")
    await transport.consume(queue.name, second, prefetch=10, tag="second")
    await harness.send(queue, *[b"x"] * 4)
    await first.until(4)
    assert len(second) == 0
    await first.ack_all()
    await leading.close()
    await harness.send(queue, b"y")
    await second.until(1)
    assert await second.ack_all() == [b"y"]


async def test_higher_priorities_come_first(harness, transport):
    """A classic queue with priorities delivers the higher ones first, each in order."""
    queue = harness.queue("prio", x_queue_type="classic", x_max_priority=5)
    await harness.declare(queue)
    for body, priority in ((b"a", 1), (b"b", None), (b"c", 5), (b"d", 9), (b"e", 1)):
        message = Publication(exchange="", routing_key=queue.name, body=body, priority=priority)
        await transport.publish(message)
    bodies = [one.body for one in await harness.contents(queue)]
    assert bodies == [b"c", b"d", b"a", b"e", b"b"]


async def test_browsing_removes_nothing(harness, transport, queue):
    """A second browse shows the same messages in the same order."""
    bodies = [str(number).encode() for number in range(20)]
    await harness.send(queue, *bodies)
    for _ in range(2):
        async with transport.browse(queue.name) as deliveries:
            assert [delivery.body async for delivery in deliveries] == bodies
        await harness.ready(queue, 20)


async def test_what_is_settled_while_browsing_is_removed(harness, transport, queue):
    """A browser may settle some; the others stay in order, also if it stops halfway."""
    await harness.send(queue, *[str(number).encode() for number in range(6)])
    async with transport.browse(queue.name) as deliveries:
        async for delivery in deliveries:
            if delivery.body in {b"1", b"3"}:
                await delivery.ack()
            if delivery.body == b"4":
                break
    await harness.ready(queue, 4)
    async with transport.browse(queue.name) as deliveries:
        assert [delivery.body async for delivery in deliveries] == [b"0", b"2", b"4", b"5"]


async def test_a_browser_that_fails_requeues_everything(harness, transport, queue):
    """An exception inside the block is raised, and no message is lost."""
    await harness.send(queue, b"1", b"2")

    async def fail_half_way():
        async with transport.browse(queue.name) as deliveries:
            async for _ in deliveries:
                raise LookupError

    with pytest.raises(LookupError):
        await fail_half_way()
    await harness.ready(queue, 2)


async def test_browsing_a_queue_that_does_not_exist_is_an_error(harness, transport):
    """The error names the queue."""
    with pytest.raises(TopologyMissingError, match="absent"):
        async with transport.browse(harness.name("absent")):
            pass


async def test_a_subscription_receives_replies_for_its_block(harness, transport):
    """The queue takes messages by its name, needs no settling, and is deleted with the block."""
    inbox, name = harness.inbox(), harness.name("reply")
    async with transport.subscribe(name, inbox, expires=60.0) as address:
        assert address == name
        for number in range(3):
            body = str(number).encode()
            await transport.publish(Publication(exchange="", routing_key=name, body=body))
        await inbox.until(3)
        assert inbox.bodies == [b"0", b"1", b"2"]

    async def gone():
        return (await transport.status([name]))[name] is None

    await harness.eventually(gone, "the end of the reply queue")


async def test_every_subscriber_of_a_fanout_exchange_gets_a_copy(harness, transport):
    """A subscription can be bound to an exchange, and is still reached by its name."""
    control = harness.exchange("control", "fanout")
    await harness.declare(exchanges=[control])
    other = await harness.transport()
    one, two = harness.inbox(), harness.inbox()
    async with (
        transport.subscribe(harness.name("one"), one, exchange=control.name) as first,
        other.subscribe(harness.name("two"), two, exchange=control.name),
    ):
        await transport.publish(Publication(exchange=control.name, routing_key="", body=b"all"))
        await transport.publish(Publication(exchange="", routing_key=first, body=b"one"))
        await one.until(2)
        await two.until(1)
    assert (one.bodies, two.bodies) == ([b"all", b"one"], [b"all"])


async def test_subscribing_to_an_exchange_that_does_not_exist_is_an_error(harness, transport):
    """The error names the exchange."""
    with pytest.raises(TopologyMissingError, match="absent"):
        async with transport.subscribe(
            harness.name("reply"), print, exchange=harness.name("absent")
        ):
            pass
