"""The contract of a transport: declarations and routing."""

import pytest

from stem_amqp.errors import TopologyMismatchError, TopologyMissingError
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.base import QueueStatus
from stem_amqp.transport.publication import Publication


@pytest.fixture
def route(harness, transport):
    """Publish one message for each key or headers, and return what arrived in which queue."""

    async def publish(exchange, messages, *queues):
        for key, headers in messages:
            await transport.publish(
                Publication(
                    exchange=exchange.name, routing_key=key, body=key.encode(), headers=headers
                )
            )
        return [
            sorted(one.body.decode() for one in await harness.contents(queue)) for queue in queues
        ]

    return publish


def bind(exchange, queue, key="", **arguments):
    """Return a binding of a queue; x_match stands for x-match."""
    named = {name.replace("x_match", "x-match"): value for name, value in arguments.items()}
    return Binding(source=exchange.name, destination=queue.name, key=key, arguments=named)


def pass_on(exchange, target, key="#"):
    """Return a binding to an exchange."""
    return Binding(source=exchange.name, destination=target.name, key=key, to_exchange=True)


async def test_a_topic_exchange_matches_words(harness, route):
    """A star is one word, a hash is any number of words, including none."""
    exchange = harness.exchange("topic")
    star, hashed, inner = harness.queue("star"), harness.queue("hash"), harness.queue("inner")
    everything = harness.queue("all")
    await harness.declare(
        star,
        hashed,
        inner,
        everything,
        exchanges=[exchange],
        bindings=[
            bind(exchange, star, "a.*"),
            bind(exchange, hashed, "a.#"),
            bind(exchange, inner, "a.#.z"),
            bind(exchange, everything, "#"),
        ],
    )
    keys = ["a", "a.b", "a.z", "a.b.z", "a.b.c", "b.a", ""]
    found = await route(exchange, [(key, {}) for key in keys], star, hashed, inner, everything)
    assert found == [
        ["a.b", "a.z"],
        ["a", "a.b", "a.b.c", "a.b.z", "a.z"],
        ["a.b.z", "a.z"],
        sorted(keys),
    ]


async def test_a_direct_exchange_matches_the_whole_key(harness, route):
    """Words and stars have no meaning to it."""
    exchange = harness.exchange("direct", "direct")
    exact, star = harness.queue("exact"), harness.queue("star")
    rest, alternate = harness.queue("rest"), harness.exchange("rest", "fanout")
    exchange = harness.exchange("direct", "direct", alternate_exchange=alternate.name)
    await harness.declare(
        exact,
        star,
        rest,
        exchanges=[alternate, exchange],
        bindings=[
            bind(exchange, exact, "a.b"),
            bind(exchange, star, "a.*"),
            bind(alternate, rest),
        ],
    )
    keys = ["a.b", "a.*", "a.c"]
    found = await route(exchange, [(key, {}) for key in keys], exact, star, rest)
    assert found == [["a.b"], ["a.*"], ["a.c"]]


async def test_a_fanout_exchange_ignores_the_key(harness, route):
    """Every bound queue gets a copy."""
    exchange = harness.exchange("fanout", "fanout")
    one, two = harness.queue("one"), harness.queue("two")
    await harness.declare(
        one,
        two,
        exchanges=[exchange],
        bindings=[bind(exchange, one, "x"), bind(exchange, two)],
    )
    assert await route(exchange, [("k", {})], one, two) == [["k"], ["k"]]


async def test_a_headers_exchange_matches_all_or_any(harness, route):
    """x-match says whether all headers must match or one is enough."""
    exchange = harness.exchange("headers", "headers")
    both, either, rest = harness.queue("both"), harness.queue("either"), harness.queue("rest")
    await harness.declare(
        both,
        either,
        rest,
        exchanges=[exchange],
        bindings=[
            bind(exchange, both, x_match="all", kind="pdf", size=1),
            bind(exchange, either, x_match="any", kind="pdf", size=1),
            bind(exchange, rest, x_match="all"),
        ],
    )
    messages = [
        ("full", {"kind": "pdf", "size": 1, "more": "x"}),
        ("half", {"kind": "pdf"}),
        ("other", {"kind": "png", "size": 2}),
    ]
    found = await route(exchange, messages, both, either, rest)
    assert found == [["full"], ["full", "half"], ["full", "half", "other"]]


async def test_an_alternate_exchange_takes_what_has_no_route(harness, route):
    """With an alternate exchange at any hop, a missing binding is no error."""
    rescue = harness.exchange("rescue", "fanout")
    inner = harness.exchange("inner", alternate_exchange=rescue.name)
    outer = harness.exchange("outer", alternate_exchange=rescue.name)
    work, parked = harness.queue("work"), harness.queue("parked")
    await harness.declare(
        work,
        parked,
        exchanges=[rescue, inner, outer],
        bindings=[
            bind(rescue, parked),
            bind(inner, work, "in.good"),
            pass_on(outer, inner, "in.#"),
        ],
    )
    messages = [(key, {}) for key in ("in.good", "in.bad", "out.bad")]
    assert await route(outer, messages, work, parked) == [["in.good"], ["in.bad", "out.bad"]]


async def test_bound_exchanges_give_each_queue_one_copy_and_no_loop(harness, route):
    """A message arrives once in each queue, over any number of paths; a cycle ends."""
    one, two = harness.exchange("one"), harness.exchange("two", "fanout")
    queue, side = harness.queue("work"), harness.queue("side")
    await harness.declare(
        queue,
        side,
        exchanges=[one, two],
        bindings=[
            bind(one, queue, "#"),
            bind(one, queue, "a.*"),
            bind(two, queue),
            bind(two, side),
            pass_on(one, two),
            Binding(source=two.name, destination=one.name, to_exchange=True),
        ],
    )
    assert await route(one, [("a.b", {})], queue, side) == [["a.b"], ["a.b"]]


async def test_a_new_binding_counts_at_once(harness, transport, route):
    """A route that was used before changes with the next declare."""
    exchange = harness.exchange("topic")
    one, two = harness.queue("one"), harness.queue("two")
    await harness.declare(one, exchanges=[exchange], bindings=[bind(exchange, one, "k")])
    assert await route(exchange, [("k", {})], one) == [["k"]]
    await harness.declare(two, bindings=[bind(exchange, two, "k")])
    assert await route(exchange, [("k", {})], one, two) == [["k"], ["k"]]
    await transport.delete(Entities(queues=(one,)))
    assert await route(exchange, [("k", {})], two) == [["k"]]


async def test_declaring_again_changes_nothing(harness, transport):
    """Repeated declarations of the same entities are accepted, and messages stay."""
    queue, exchange = harness.queue("work", x_delivery_limit=7), harness.exchange("tasks")
    declared = await harness.declare(
        queue, exchanges=[exchange], bindings=[bind(exchange, queue, "k")]
    )
    await harness.send(queue, b"x")
    await transport.declare(declared)
    await harness.ready(queue, 1)


async def test_a_queue_with_other_arguments_is_a_mismatch(harness, transport):
    """The error names the queue, the argument, both values and the remedy."""
    await harness.declare(harness.queue("work", x_message_ttl=1000))
    wanted = harness.queue("work", x_message_ttl=2000)
    with pytest.raises(TopologyMismatchError) as caught:
        await transport.declare(Entities(queues=(wanted,)))
    text = str(caught.value)
    for part in (wanted.name, "x-message-ttl", "1000", "2000", "\n"):
        assert part in text
    assert (await transport.status([wanted.name]))[wanted.name] is not None


async def test_an_exchange_of_another_type_is_a_mismatch(harness, transport):
    """The error names the exchange and both types."""
    await harness.declare(exchanges=[harness.exchange("tasks", "topic")])
    wanted = harness.exchange("tasks", "fanout")
    with pytest.raises(TopologyMismatchError) as caught:
        await transport.declare(Entities(exchanges=(wanted,)))
    for part in (wanted.name, "topic", "fanout"):
        assert part in str(caught.value)


async def test_missing_names_the_missing_entities(harness, transport):
    """Declared exchanges and queues are not missing, and the others are."""
    there, absent = harness.queue("there"), harness.queue("absent")
    exchange, nowhere = harness.exchange("there"), harness.exchange("absent")
    await harness.declare(there, exchanges=[exchange])
    asked = Entities(exchanges=(exchange, nowhere), queues=(there, absent))
    assert await transport.missing(asked) == [nowhere, absent]
    assert await transport.missing(Entities(exchanges=(exchange,), queues=(there,))) == []


async def test_status_counts_messages_and_consumers(harness, transport):
    """It has ready messages and consumers, and None for a queue that does not exist."""
    queue, absent = harness.queue("work"), harness.queue("absent")
    await harness.declare(queue)
    await harness.send(queue, b"1", b"2", b"3")
    await transport.consume(queue.name, harness.inbox(), prefetch=1, tag="c1")
    await harness.ready(queue, 2)
    status = await transport.status([queue.name, absent.name])
    assert status == {
        queue.name: QueueStatus(name=queue.name, ready=2, consumers=1),
        absent.name: None,
    }


async def test_purge_drops_what_is_ready_and_counts_it(harness, transport):
    """Unsettled deliveries stay."""
    queue = harness.queue("work")
    await harness.declare(queue)
    await harness.send(queue, b"1", b"2", b"3")
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    await inbox.until(1)
    await consumer.stop()
    await harness.ready(queue, 2)
    assert await transport.purge(queue.name) == 2
    assert await transport.purge(queue.name) == 0
    await consumer.close()
    await harness.ready(queue, 1)
    assert [one.body for one in await harness.contents(queue)] == [b"1"]


async def test_purging_a_queue_that_does_not_exist_is_an_error(harness, transport):
    """The error names the queue."""
    with pytest.raises(TopologyMissingError, match="absent"):
        await transport.purge(harness.name("absent"))


async def test_delete_removes_existing_entities_and_ignores_missing_ones(harness, transport):
    """Full queues and bound exchanges are deleted, and the call can be repeated."""
    queue, exchange = harness.queue("work"), harness.exchange("tasks")
    declared = await harness.declare(
        queue, exchanges=[exchange], bindings=[bind(exchange, queue, "k")]
    )
    await harness.send(queue, b"x")
    await transport.delete(declared)
    assert await transport.missing(declared) == [exchange, queue]
    await transport.delete(declared)
    await transport.delete(
        Entities(
            exchanges=(Exchange(name=harness.name("never"), type="topic"),),
            queues=(Queue(name=harness.name("never")),),
        )
    )


async def test_a_user_of_the_transport_continues_after_a_failed_declare(harness, transport):
    """A mismatch closes no channel that others use."""
    queue = harness.queue("work")
    await harness.declare(queue)
    inbox = harness.inbox()
    await transport.consume(queue.name, inbox, prefetch=5, tag="c1")
    other = Queue(name=queue.name, arguments={"x-queue-type": "classic"})
    with pytest.raises(TopologyMismatchError):
        await transport.declare(Entities(queues=(other,)))
    await harness.send(queue, b"x")
    await inbox.until(1)
    assert await inbox.ack_all() == [b"x"]
