"""Test publishing to a real broker, concurrently and through losses of the connection."""

import asyncio
from collections import Counter

import pytest

from stem_amqp.errors import PublishError, UnroutableError
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.publication import Publication


async def contents(transport, queue):
    """Consume and return all bodies of a queue."""
    found = []
    async with transport.browse(queue) as deliveries:
        async for delivery in deliveries:
            found.append(delivery.body)
            await delivery.ack()
    return found


def to(queue, body=b"x", **more):
    return Publication(exchange="", routing_key=queue, body=body, **more)


async def test_five_thousand_at_once_are_all_stored_once(bench):
    """Each message is published once, whatever the number of concurrent callers."""
    transport = await bench.connect(publish_timeout=60)
    queue = await bench.queue(transport)
    bodies = [b"%d" % number for number in range(5000)]
    await asyncio.gather(*(transport.publish(to(queue, body)) for body in bodies))
    seen = []
    consumer = await transport.consume(queue, seen.append, prefetch=5000, tag="count")
    await bench.eventually(lambda: len(seen) >= 5000, "all deliveries")
    assert Counter(delivery.body for delivery in seen) == Counter(bodies)
    await consumer.close()


@pytest.mark.parametrize("blow", ["client", "broker"])
async def test_nothing_is_lost_when_connections_are_closed_under_publishes(bench, blow):
    """Every publish is confirmed, and every confirmed message is in the queue at least once."""
    transport = await bench.connect(publish_timeout=30)
    queue = await bench.queue(transport)
    confirmed, changes = [], []
    transport.on_connection_change = changes.append

    async def publish(number):
        body = b"%d" % number
        await transport.publish(to(queue, body))
        confirmed.append(body)

    publishing = asyncio.gather(*(publish(number) for number in range(3000)))
    for done in (300, 900, 1500):
        await bench.eventually(lambda: len(confirmed) > done, "progress")  # noqa: B023
        if blow == "client":
            transport._publishing._link.abort()
        else:
            # RabbitMQ has no queue.delete with if-empty for quorum queues: it closes the connection
            channel = await transport._publishing.channel()
            asyncio.ensure_future(channel.queue_delete(queue, if_empty=True)).add_done_callback(
                lambda future: future.cancelled() or future.exception()
            )
    await publishing
    assert not changes[0].restored
    found = []
    consumer = await transport.consume(queue, found.append, prefetch=5000, tag="count")
    await bench.eventually(lambda: len({one.body for one in found}) >= 3000, "all messages")
    assert {one.body for one in found} == set(confirmed)
    await consumer.close()


async def test_a_missing_exchange_fails_only_its_own_publishes(bench):
    """The broker closes the shared channel; the other messages are published on the next one."""
    transport = await bench.connect()
    changes = []
    transport.on_connection_change = changes.append
    queue = await bench.queue(transport)
    gone = Publication(exchange=bench.name("gone"), routing_key="k", body=b"x")
    results = await asyncio.gather(
        *(transport.publish(to(queue, b"%d" % number)) for number in range(50)),
        transport.publish(gone),
        *(transport.publish(to(queue, b"%d" % number)) for number in range(50, 100)),
        return_exceptions=True,
    )
    error = results.pop(50)
    assert isinstance(error, UnroutableError)
    assert "topology apply" in str(error)
    assert bench.name("gone") in str(error)
    assert results == [None] * 100
    assert changes == []
    assert set(await contents(transport, queue)) == {b"%d" % number for number in range(100)}


async def test_a_missing_exchange_costs_the_others_nothing(bench):
    """Failing publishes repeat no other message, and the connection stays open."""
    transport = await bench.connect()
    changes, sent, stop = [], [], asyncio.Event()
    transport.on_connection_change = changes.append
    queue = await bench.queue(transport)
    gone = Publication(exchange=bench.name("gone"), routing_key="k", body=b"x")

    async def keep_publishing(number):
        while not stop.is_set():
            body = b"%d.%d" % (number, len(sent))
            await transport.publish(to(queue, body))
            sent.append(body)

    async def keep_failing():
        for _ in range(10):
            with pytest.raises(UnroutableError, match="no exchange"):
                await transport.publish(gone)

    publishing = asyncio.gather(*(keep_publishing(number) for number in range(10)))
    await asyncio.gather(*(keep_failing() for _ in range(20)))
    stop.set()
    await publishing
    assert changes == []
    assert sorted(await contents(transport, queue)) == sorted(sent)


async def test_an_exchange_that_comes_and_goes_costs_no_connection(bench):
    """Nothing is published on a closed channel, since that would close the connection."""
    transport = await bench.connect()
    changes, stop = [], asyncio.Event()
    transport.on_connection_change = changes.append
    queue = await bench.queue(transport)
    exchange = Exchange(name=bench.name("e"), type="fanout")
    binding = Binding(source=exchange.name, destination=queue)
    entities = Entities(exchanges=(exchange,), bindings=(binding,))
    bench.declared.append(entities)
    await transport.declare(entities)
    outcomes = Counter()

    async def keep_publishing():
        while not stop.is_set():
            try:
                await transport.publish(
                    Publication(exchange=exchange.name, routing_key="k", body=b"x")
                )
                outcomes["published"] += 1
            except UnroutableError:
                outcomes["unroutable"] += 1
                await asyncio.sleep(0.005)

    publishing = asyncio.gather(*(keep_publishing() for _ in range(13)))
    for _ in range(15):
        published, unroutable = outcomes["published"], outcomes["unroutable"]
        await bench.eventually(lambda: outcomes["published"] > published + 20)  # noqa: B023
        await transport.delete(entities)
        await bench.eventually(lambda: outcomes["unroutable"] > unroutable)  # noqa: B023
        await transport.declare(entities)
    stop.set()
    await publishing
    assert changes == []


async def test_a_missing_queue_and_a_missing_binding_are_unroutable(bench):
    """The two errors differ."""
    transport = await bench.connect()
    exchange = Exchange(name=bench.name("tasks"), type="topic")
    bench.declared.append(Entities(exchanges=(exchange,)))
    await transport.declare(bench.declared[-1])
    with pytest.raises(UnroutableError, match=r"NO_ROUTE\n.*topology apply"):
        await transport.publish(Publication(exchange=exchange.name, routing_key="k", body=b""))
    with pytest.raises(UnroutableError, match="no queue of that name"):
        await transport.publish(to(bench.name("absent")))


async def test_a_message_larger_than_a_frame_arrives_whole(bench):
    """A message without a body arrives too."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    large = bytes(range(256)) * 4096
    await bench.send(transport, queue, large, b"")
    assert await contents(transport, queue) == [large, b""]


async def test_a_message_larger_than_the_broker_takes_is_an_error_of_its_own(bench):
    """RabbitMQ 4 accepts 16 MiB by default; other publishes in flight succeed."""
    transport = await bench.connect(publish_timeout=30)
    if (await transport.connect()).version < (4, 0):
        pytest.skip("before RabbitMQ 4.0 the limit is 128 MiB")
    queue = await bench.queue(transport)
    results = await asyncio.gather(
        transport.publish(to(queue, b"small")),
        transport.publish(to(queue, b"x" * (17 << 20))),
        return_exceptions=True,
    )
    assert isinstance(results[1], PublishError)
    assert "larger than" in str(results[1])
    assert set(await contents(transport, queue)) == {b"small"}


async def test_a_message_keeps_all_its_properties(bench):
    """A consumer gets the properties that were published."""
    transport = await bench.connect()
    queue = await bench.queue(transport)
    await transport.publish(
        to(
            queue,
            type="t",
            correlation_id="c",
            reply_to="r",
            priority=4,
            app_id="a",
            headers={"n": 1 << 40, "s": "ü", "list": [1, "x"], "table": {"a": True}, "none": None},
        )
    )
    async with transport.browse(queue) as deliveries:
        async for got in deliveries:
            assert (got.type, got.correlation_id, got.reply_to) == ("t", "c", "r")
            assert (got.priority, got.app_id, got.content_type) == (4, "a", "application/json")
            assert got.timestamp == pytest.approx(transport.clock.time(), abs=60)
            sent = {"n": 1 << 40, "s": "ü", "list": [1, "x"], "table": {"a": True}, "none": None}
            assert sent.items() <= dict(got.headers).items()
            await got.ack()


async def test_seventy_queues_that_exist_are_declared_fast(bench):
    """Every process declares the queues when it starts."""
    transport = await bench.connect()
    exchange = Exchange(name=bench.name("e"), type="topic")
    queues = tuple(
        Queue(name=bench.name(f"q{number}"), arguments={"x-queue-type": "quorum"})
        for number in range(70)
    )
    bindings = tuple(
        Binding(source=exchange.name, destination=queue.name, key=queue.name) for queue in queues
    )
    entities = Entities(exchanges=(exchange,), queues=queues, bindings=bindings)
    bench.declared.append(entities)
    assert len(await transport.missing(entities)) == 71
    loop = asyncio.get_running_loop()
    began = loop.time()
    await transport.declare(entities)
    at_first = loop.time() - began
    assert await transport.missing(entities) == []

    async def faster():
        began = loop.time()
        await transport.declare(entities)
        return loop.time() - began < at_first

    # the machine may stall for longer than the first declaration took
    await bench.eventually(faster, "a faster declaration")
