"""The contract of a transport: dead letters, TTLs, limits and delays."""

import asyncio

import pytest

from stem_amqp.delay import LEVELS, binding_key, delivery_key, exact_units, route, ttl_ms
from stem_amqp.topology.entities import Binding, Exchange, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.publication import Publication

AT_LEAST_ONCE = {"x_dead_letter_strategy": "at-least-once", "x_overflow": "reject-publish"}


@pytest.fixture
def with_dead_letters(harness, transport):
    """Declare a work queue with these arguments, and its dead-letter queue."""

    async def declare(**arguments):
        dead = harness.exchange("dead", "direct")
        dlq = harness.queue("work.dlq", x_delivery_limit=1000)
        work = harness.queue(
            "work",
            **{"x_delivery_limit": 1000}
            | {"x_dead_letter_exchange": dead.name, "x_dead_letter_routing_key": "orders"}
            | arguments,
        )
        binding = Binding(source=dead.name, destination=dlq.name, key="orders")
        await harness.declare(work, dlq, exchanges=[dead], bindings=[binding])
        return work, dlq

    return declare


async def the_dead_letter(harness, dlq):
    """Return the only dead letter."""
    await harness.ready(dlq, 1)
    (delivery,) = await harness.contents(dlq)
    return delivery


@pytest.mark.parametrize("way", ["nack", "reject"])
@pytest.mark.parametrize("strategy", [{}, AT_LEAST_ONCE], ids=["at-most-once", "at-least-once"])
async def test_a_refused_message_becomes_a_dead_letter(
    harness, transport, with_dead_letters, way, strategy
):
    """Nack or reject without requeue dead-letters, and the headers have the history."""
    work, dlq = await with_dead_letters(**strategy)
    await transport.publish(
        Publication(
            exchange="",
            routing_key=work.name,
            body=b"bad",
            type="orders.sync",
            correlation_id="task-1",
            headers={"stem-attempt": 1},
        )
    )
    inbox = harness.inbox()
    await transport.consume(work.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    await getattr(delivery, way)(requeue=False)
    letter = await the_dead_letter(harness, dlq)
    assert (letter.body, letter.type, letter.correlation_id) == (b"bad", "orders.sync", "task-1")
    assert (letter.exchange, letter.routing_key) == (harness.name("dead"), "orders")
    assert letter.headers["stem-attempt"] == 1
    assert letter.headers["x-first-death-reason"] == "rejected"
    assert letter.headers["x-first-death-queue"] == work.name
    assert letter.headers["x-first-death-exchange"] == ""
    (death,) = letter.headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("rejected", work.name, 1)
    assert (death["exchange"], death["routing-keys"]) == ("", [work.name])
    assert abs(death["time"].timestamp() - transport.clock.time()) < 60
    await harness.ready(work, 0)


async def test_without_a_routing_key_a_dead_letter_keeps_its_own(harness, transport):
    """The original routing key of the message is used."""
    dead, dlq = harness.exchange("dead", "direct"), harness.queue("dlq")
    work = harness.queue("work", x_dead_letter_exchange=dead.name)
    binding = Binding(source=dead.name, destination=dlq.name, key=work.name)
    await harness.declare(work, dlq, exchanges=[dead], bindings=[binding])
    await harness.send(work, b"x")
    async with transport.browse(work.name) as deliveries:
        async for delivery in deliveries:
            await delivery.reject(requeue=False)
    assert (await the_dead_letter(harness, dlq)).routing_key == work.name


async def test_without_a_dead_letter_exchange_a_refused_message_is_dropped(harness, transport):
    """Nack without requeue then drops it."""
    work = harness.queue("work")
    await harness.declare(work)
    await harness.send(work, b"1", b"2")
    inbox = harness.inbox()
    consumer = await transport.consume(work.name, inbox, prefetch=1, tag="c1")
    (first,) = await inbox.until(1)
    await first.nack(requeue=False)
    await inbox.until(2)
    await consumer.close()
    await harness.ready(work, 1)
    assert [one.body for one in await harness.contents(work)] == [b"2"]


async def test_a_message_expires_after_the_queues_ttl(harness, transport, with_dead_letters):
    """It becomes a dead letter with the reason expired, not before its time."""
    work, dlq = await with_dead_letters(x_message_ttl=150)
    inbox = harness.inbox()
    await transport.consume(dlq.name, inbox, prefetch=10, tag="c1")
    sent = transport.clock.time()
    await harness.send(work, b"1", b"2")
    letters = await inbox.until(2)
    assert inbox.times[0] - sent >= 0.15
    assert [letter.body for letter in letters] == [b"1", b"2"]
    assert letters[0].headers["x-death"][0]["reason"] == "expired"
    await inbox.ack_all()


async def test_a_message_can_expire_through_several_queues(harness, transport):
    """Each death is recorded, newest first; the first one is kept too."""
    second = harness.queue("second", x_message_ttl=100, x_dead_letter_exchange="")
    last = harness.queue("last")
    second = harness.queue(
        "second",
        x_message_ttl=100,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=last.name,
    )
    first = harness.queue(
        "first",
        x_message_ttl=50,
        x_dead_letter_exchange="",
        x_dead_letter_routing_key=second.name,
    )
    await harness.declare(first, second, last)
    sent = transport.clock.time()
    await harness.send(first, b"x")
    letter = await the_dead_letter(harness, last)
    assert transport.clock.time() - sent >= 0.15
    deaths = [(death["queue"], death["reason"]) for death in letter.headers["x-death"]]
    assert deaths == [(second.name, "expired"), (first.name, "expired")]
    assert letter.headers["x-first-death-queue"] == first.name


async def test_returns_beyond_the_delivery_limit_make_a_dead_letter(
    harness, transport, with_dead_letters
):
    """A message is delivered once more than the limit, and then has the reason delivery_limit."""
    work, dlq = await with_dead_letters(x_delivery_limit=2)
    await harness.send(work, b"poison")
    inbox = harness.inbox()
    await transport.consume(work.name, inbox, prefetch=1, tag="c1")
    for count in (1, 2, 3):
        deliveries = await inbox.until(count)
        await deliveries[-1].reject(requeue=True)
    letter = await the_dead_letter(harness, dlq)
    assert letter.headers["x-death"][0]["reason"] == "delivery_limit"
    assert [delivery.headers.get("x-delivery-count", 0) for delivery in inbox.deliveries] == [
        0,
        1,
        2,
    ]


async def test_a_consumer_that_dies_counts_towards_the_delivery_limit(
    harness, transport, with_dead_letters
):
    """A channel that closes with the message unsettled counts like a reject."""
    work, dlq = await with_dead_letters(x_delivery_limit=1)
    await harness.send(work, b"poison")
    for _ in range(2):
        inbox = harness.inbox()
        consumer = await transport.consume(work.name, inbox, prefetch=1, tag="c1")
        await inbox.until(1)
        await consumer.close()
    letter = await the_dead_letter(harness, dlq)
    assert letter.headers["x-death"][0]["reason"] == "delivery_limit"


async def test_a_full_queue_that_drops_dead_letters_its_oldest(
    harness, transport, with_dead_letters
):
    """With drop-head the oldest message is dropped, with the reason maxlen."""
    work, dlq = await with_dead_letters(x_max_length=2, x_overflow="drop-head")
    await harness.send(work, b"1", b"2", b"3")
    letter = await the_dead_letter(harness, dlq)
    assert (letter.body, letter.headers["x-death"][0]["reason"]) == (b"1", "maxlen")
    assert [one.body for one in await harness.contents(work)] == [b"2", b"3"]


async def test_a_dead_letter_without_a_route_takes_the_alternate_exchange(harness, transport):
    """The broker's internal routing uses alternate exchanges too."""
    parked, parking = harness.queue("parked"), harness.exchange("parking", "fanout")
    dead = harness.exchange("dead", "direct", alternate_exchange=parking.name)
    work = harness.queue("work", x_dead_letter_exchange=dead.name, **AT_LEAST_ONCE)
    binding = Binding(source=parking.name, destination=parked.name)
    await harness.declare(work, parked, exchanges=[parking, dead], bindings=[binding])
    await harness.send(work, b"x")
    async with transport.browse(work.name) as deliveries:
        async for delivery in deliveries:
            await delivery.reject(requeue=False)
    assert (await the_dead_letter(harness, parked)).body == b"x"


def delay_topology(harness, names, work):
    """Return exchanges, queues and bindings of the decimal delay, for one work queue."""
    exchanges = [harness.exchange("deliver")]
    queues, bindings = [], []
    for level in range(LEVELS):
        exchange = Exchange(name=names.delay_exchange(level), type="topic")
        exchanges.append(exchange)
        for digit in range(1, 10):
            arguments = {
                "x-queue-type": "quorum",
                "x-message-ttl": ttl_ms(level, digit),
                "x-dead-letter-exchange": names.after_delay(level),
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            }
            queue = Queue(name=names.delay_queue(level, digit), arguments=arguments)
            queues.append(queue)
            key = binding_key(level, digit)
            bindings.append(Binding(source=exchange.name, destination=queue.name, key=key))
        bindings.append(
            Binding(
                source=exchange.name,
                destination=names.after_delay(level),
                key=binding_key(level, 0),
                to_exchange=True,
            )
        )
    bindings.append(Binding(source=names.deliver, destination=work.name, key=delivery_key("work")))
    return queues, exchanges, bindings


async def test_decimal_delays_are_never_early(harness, transport):
    """With one hop, two hops, and a zero digit in between, each arrives when it is due."""
    names, work = Names(harness.prefix), harness.queue("work")
    queues, exchanges, bindings = delay_topology(harness, names, work)
    await harness.declare(*queues, work, exchanges=exchanges, bindings=bindings)
    inbox, sent = harness.inbox(), {}
    await transport.consume(work.name, inbox, prefetch=10, tag="c1")

    async def delay(seconds):
        way = route(exact_units(seconds), "work")
        body = str(seconds).encode()
        sent[body] = transport.clock.time()
        await transport.publish(
            Publication(
                exchange=names.delay_exchange(way.level), routing_key=way.routing_key, body=body
            )
        )

    wanted = [1.2, 0.3, 1.0, 0.1]
    await asyncio.gather(*(delay(seconds) for seconds in wanted))
    deliveries = await inbox.until(len(wanted))
    for delivery, arrived in zip(deliveries, inbox.times, strict=True):
        assert arrived - sent[delivery.body] >= float(delivery.body)
    # Two that are both late may arrive in another order
    hops = {delivery.body: len(delivery.headers["x-death"]) for delivery in deliveries}
    assert hops == {b"0.1": 1, b"0.3": 1, b"1.0": 1, b"1.2": 2}
