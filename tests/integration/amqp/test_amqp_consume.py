"""Test consuming from a real broker, and browsing it."""

import asyncio

import pytest

from stem_amqp.errors import BrokerRefusedError, TopologyMismatchError, TopologyMissingError
from stem_amqp.topology.entities import Entities, Queue


async def look(transport, queue):
    """Return the bodies in a queue, in order, and leave the messages there."""
    async with transport.browse(queue) as deliveries:
        return [delivery.body async for delivery in deliveries]


async def test_browsing_fifty_times_loses_nothing_and_keeps_the_order(bench):
    """Browsing dead letters neither removes them nor changes their order."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    bodies = [b"%d" % number for number in range(20)]
    await bench.send(transport, queue, *bodies)
    for _ in range(50):
        await bench.eventually(lambda: ready(transport, queue, 20), "the return of all of them")
        assert await look(transport, queue) == bodies


async def ready(transport, queue, count):
    """Return whether a number of messages is ready."""
    status = (await transport.status([queue]))[queue]
    return status.ready == count


async def test_what_is_settled_while_browsing_is_removed_and_the_rest_keeps_its_order(bench):
    """Messages settled while browsing are removed, and the others keep their order."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    await bench.send(transport, queue, *(b"%d" % number for number in range(6)))
    async with transport.browse(queue) as deliveries:
        async for delivery in deliveries:
            if delivery.body in {b"1", b"4"}:
                await delivery.ack()
            if delivery.body == b"4":
                break
    await bench.eventually(lambda: ready(transport, queue, 4), "the return of the others")
    assert await look(transport, queue) == [b"0", b"2", b"3", b"5"]


async def test_browsing_ends_while_messages_arrive(bench):
    """Browsing ends at the messages that were in the queue when it began."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    await bench.send(transport, queue, b"0", b"1")
    seen = 0
    async with transport.browse(queue) as deliveries:
        async for _ in deliveries:
            seen += 1
            await bench.send(transport, queue, b"more")
    assert seen == 2


async def test_the_prefetch_holds_across_a_deleted_queue(bench):
    """A consumer that was restored gets no more deliveries at once than before."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    inbox, lost = [], []

    async def redeclare():
        lost.append(queue)
        await transport.declare(bench.declared[0])

    transport.redeclare = redeclare
    consumer = await transport.consume(queue, inbox.append, prefetch=3, tag="c")
    await transport.delete(bench.declared[0])
    await bench.eventually(lambda: lost and consumer.consuming, "the loss and the return")
    await bench.send(transport, queue, *[b"x"] * 10)
    await bench.eventually(lambda: len(inbox) == 3, "three deliveries")
    await bench.eventually(lambda: ready(transport, queue, 7), "seven that wait")
    assert len(inbox) == 3


async def test_many_consumers_of_deleted_queues_redeclare_once_together(bench):
    """One declaration restores the queues of all consumers."""
    transport = await bench.connect()
    queues = [await bench.queue(transport, f"q{number}") for number in range(5)]
    running = declared = 0

    async def redeclare():
        nonlocal running, declared
        running += 1
        assert running == 1
        declared += 1
        for entities in bench.declared:
            await transport.declare(entities)
        running -= 1

    transport.redeclare = redeclare
    consumers = [await transport.consume(queue, print, prefetch=1, tag=queue) for queue in queues]
    await asyncio.gather(*(transport.delete(entities) for entities in bench.declared))
    await bench.eventually(
        lambda: declared and all(consumer.consuming for consumer in consumers), "all of them"
    )


async def test_a_redeclare_that_fails_leaves_the_queue_missing(bench):
    """The error is that of the missing queue, with the reason why it stays missing."""
    transport = await bench.connect()

    async def redeclare():
        raise TopologyMismatchError("other arguments")

    transport.redeclare = redeclare
    with pytest.raises(TopologyMissingError, match="other arguments"):
        await transport.consume(bench.name("absent"), print, prefetch=1, tag="c")


async def test_a_reply_queue_belongs_to_one_connection(bench):
    """Another connection is refused while the queue exists, and can declare it afterwards."""
    first, second = await bench.connect(), await bench.connect()
    name = bench.name("replies")
    inbox = []
    async with first.subscribe(name, inbox.append, expires=60):
        with pytest.raises(BrokerRefusedError, match="Another connection uses it"):
            async with second.subscribe(name, inbox.append):
                pytest.fail("two owners")
        await bench.send(second, name, b"reply")
        await bench.eventually(lambda: inbox, "the reply")
    assert (await first.status([name]))[name] is None
    async with second.subscribe(name, inbox.append):
        await bench.send(first, name, b"second reply")
        await bench.eventually(lambda: len(inbox) == 2, "the second reply")


async def test_another_value_on_the_broker_is_named_with_both(bench):
    """The error names the entity, the argument, both values and the remedy."""
    transport = await bench.connect()
    queue = await bench.queue(transport, **{"x-message-ttl": 1000})
    for arguments, ours in (({"x-message-ttl": 2000}, "2000"), ({}, "none")):
        other = Queue(
            name=queue,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000} | arguments,
        )
        with pytest.raises(TopologyMismatchError) as caught:
            await transport.declare(Entities(queues=(other,)))
        text = str(caught.value)
        assert f"queue {queue!r}" in text
        assert f"x-message-ttl is 1000 on the broker and {ours} in the topology" in text
        assert "stem-amqp topology plan" in text
    assert (await transport.status([queue]))[queue].ready == 0


async def test_closing_with_everything_open_leaves_no_task(bench):
    """Consumers, a subscription, a browser and publishes in flight end with the transport."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    await bench.send(transport, queue, *[b"x"] * 20)
    await transport.consume(queue, print, prefetch=5, tag="c")
    subscription = transport.subscribe(bench.name("replies"), print)
    await subscription.__aenter__()
    browser = transport.browse(queue)
    deliveries = await browser.__aenter__()
    await anext(deliveries)
    before = {one for one in asyncio.all_tasks() if one is not asyncio.current_task()}
    assert before
    await transport.close()
    await subscription.__aexit__(None, None, None)
    await browser.__aexit__(None, None, None)
    await bench.eventually(lambda: all(one.done() for one in before), "the end of all tasks")
