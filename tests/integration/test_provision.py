"""Test the topology on a broker: what is declared, and how messages are routed through it."""

import asyncio
import dataclasses
import os
import time
import uuid

import pytest

from stem_amqp.delay import exact_units, route
from stem_amqp.errors import TopologyMismatchError, TopologyMissingError, UnroutableError
from stem_amqp.provision.apply import apply, ensure
from stem_amqp.provision.verify import verify
from stem_amqp.settings import Provision
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

PATIENCE = 60.0
TOPOLOGY = """
version: 1
queues:
  a:
  b.a:
  old: {type: classic, priority: 5, max_length: 100}
  full: {ttl: 1h, max_length: 10, single_active_consumer: true, dead_letter: {ttl: 1d, max_length: 9}}
exchanges:
  "{namespace}.audit": {type: headers}
  amq.topic: {external: true}
bindings:
  - {source: "{namespace}.tasks", destination: "{namespace}.audit", key: a, to: exchange}
  - {source: amq.topic, destination: a, key: "%s.#"}
"""


@pytest.fixture(scope="session")
def rabbitmq_url(request):
    """Return the URL of a RabbitMQ: the session's, or the one that the environment names."""
    try:
        return request.getfixturevalue("stem_broker_url")
    except pytest.FixtureLookupError:
        return os.environ.get("STEM_TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/")


@pytest.fixture(params=["memory", "rabbitmq"])
async def transport(request):
    """Yield a connected transport of each kind."""
    if request.param == "memory":
        transport = MemoryTransport(MemoryBroker())
    else:
        from stem_amqp.transport.amqp.transport import AmqpTransport

        transport = AmqpTransport(
            [request.getfixturevalue("rabbitmq_url")],
            name="test-provision",
            heartbeat=30.0,
            connect_timeout=10.0,
            publish_timeout=10.0,
        )
    await transport.connect()
    yield transport
    await transport.close()


@pytest.fixture
def names():
    """Return the names of a new namespace."""
    return Names(f"t-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def entities(transport, names):
    """Yield a compiled topology, and delete it from the broker after the test."""
    entities = compile_topology(parse_topology(TOPOLOGY % names.namespace), names)
    yield entities
    await transport.delete(entities)


@pytest.fixture
async def applied(transport, entities):
    """Return the topology after it was declared on the broker."""
    await apply(transport, entities)
    return entities


async def publish(transport, exchange, key, body):
    """Publish a message."""
    await transport.publish(Publication(exchange=exchange, routing_key=key, body=body))


async def first(transport, queue, *, settle):
    """Consume one message, settle it, and return its body and the time of its arrival."""
    arrived = asyncio.get_running_loop().create_future()

    def take(delivery):
        if not arrived.done():
            arrived.set_result((delivery, time.monotonic()))

    consumer = await transport.consume(queue, take, prefetch=1, tag=f"test-{uuid.uuid4().hex[:8]}")
    try:
        async with asyncio.timeout(PATIENCE):
            delivery, moment = await arrived
            await settle(delivery)
    finally:
        await consumer.close()
    return delivery.body, moment


async def ack(delivery):
    """Acknowledge a delivery."""
    await delivery.ack()


async def reject(delivery):
    """Reject a delivery without requeueing it."""
    await delivery.reject(requeue=False)


async def ready(transport, entities):
    """Return the queues that have ready messages, with their number."""
    status = await transport.status([queue.name for queue in entities.queues])
    return {
        name: queue.ready for name, queue in status.items() if queue is not None and queue.ready
    }


async def until_ready(transport, entities, expected):
    """Wait until exactly these messages are ready."""
    deadline = time.monotonic() + PATIENCE
    while (found := await ready(transport, entities)) != expected:
        assert time.monotonic() < deadline, f"ready: {found}, not {expected}"
        await asyncio.sleep(0.02)


async def test_apply_twice_is_as_good_as_once(transport, entities):
    """Every process declares the whole topology when it connects."""
    await apply(transport, entities)
    await apply(transport, entities)
    assert await transport.missing(entities) == []


async def test_several_processes_may_apply_at_once(transport, entities):
    """A deployment starts all its workers concurrently."""
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(apply(transport, entities))
    assert await transport.missing(entities) == []


async def test_verify_fails_before_and_passes_after_apply(transport, entities, names):
    """Verify declares nothing; its error counts the missing entities, and names the first."""
    with pytest.raises(TopologyMissingError, match="stem-amqp topology apply") as caught:
        await verify(transport, entities)
    text = str(caught.value)
    assert f"{len(entities.exchanges) + len(entities.queues)} of" in text
    assert entities.exchanges[0].name in text
    assert entities.queues[0].name in text
    assert " more" in text
    await apply(transport, entities)
    await verify(transport, entities)


async def test_ensure_in_verify_mode_declares_nothing(transport, entities):
    """In verify mode connecting does not change a broker whose topology is deployed separately."""
    for mode in (Provision.NONE, Provision.VERIFY):
        try:
            await ensure(mode, transport, entities)
        except TopologyMissingError:
            assert mode is Provision.VERIFY
    total = len(entities.exchanges) + len(entities.queues)
    assert len(await transport.missing(entities)) == total


async def test_verify_names_a_single_queue_that_is_missing(transport, applied, names):
    """After a deletion by hand, the error names the deleted queue and nothing else."""
    gone = [queue for queue in applied.queues if queue.name == names.work("a")]
    await transport.delete(Entities(queues=tuple(gone)))
    with pytest.raises(TopologyMissingError) as caught:
        await verify(transport, applied)
    assert f"  queues: {names.work('a')}\n" in str(caught.value)
    await apply(transport, applied)
    await verify(transport, applied)


async def test_a_queue_with_other_arguments_is_a_readable_mismatch(transport, applied, names):
    """Arguments that cannot be changed in place are an error with the queue and the argument."""
    changed = parse_topology("version: 1\nqueues: {a: {ttl: 5s}}")
    with pytest.raises(TopologyMismatchError) as caught:
        await apply(transport, compile_topology(changed, names))
    assert names.work("a") in str(caught.value)
    assert "x-message-ttl" in str(caught.value)
    # the transport still works
    await publish(transport, names.tasks, "a", b"still there")
    await until_ready(transport, applied, {names.work("a"): 1})


async def test_an_exchange_of_another_type_is_a_readable_mismatch(transport, applied, names):
    """An exchange's type cannot be changed in place either."""
    changed = tuple(
        dataclasses.replace(exchange, type="direct")
        for exchange in applied.exchanges
        if exchange.name == names.tasks
    )
    with pytest.raises(TopologyMismatchError, match="type") as caught:
        await apply(transport, Entities(exchanges=changed))
    assert names.tasks in str(caught.value)


@pytest.mark.parametrize("queue", ["a", "b.a", "old", "full"])
async def test_a_task_lands_in_its_work_queue_only(transport, applied, names, queue):
    """The routing key is the logical queue, and a name with dots is not a pattern."""
    await publish(transport, names.tasks, queue, b"task")
    await until_ready(transport, applied, {names.work(queue): 1})


async def test_a_task_for_an_unknown_queue_comes_back_to_its_producer(transport, applied, names):
    """The message is not parked: the producer gets an error."""
    with pytest.raises(UnroutableError):
        await publish(transport, names.tasks, "nowhere", b"task")
    assert await ready(transport, applied) == {}


@pytest.mark.parametrize("queue", ["a", "b.a"])
async def test_a_delay_ends_in_its_own_queue_and_not_before_its_time(
    transport, applied, names, queue
):
    """A delay of 0.3 s passes one queue, and b.a is another queue than a."""
    way = route(exact_units(0.3), queue)
    started = time.monotonic()
    await publish(transport, names.delay_exchange(way.level), way.routing_key, b"later")
    body, arrived = await first(transport, names.work(queue), settle=ack)
    assert body == b"later"
    assert arrived - started >= 0.3
    assert await ready(transport, applied) == {}


async def test_a_delay_of_two_digits_takes_two_hops(transport, applied, names):
    """A delay of 100.2 s begins in the queue of a hundred seconds, and one of 1.2 s arrives after both of its parts."""
    started = time.monotonic()
    # The test may look when the short delay has left its first queue; the long one is there still
    for seconds, body in ((100.2, b"much later"), (1.2, b"later")):
        way = route(exact_units(seconds), "a")
        await publish(transport, names.delay_exchange(way.level), way.routing_key, body)
    body, arrived = await first(transport, names.work("a"), settle=ack)
    assert body == b"later"
    assert arrived - started >= 1.2
    assert await ready(transport, applied) == {names.delay_queue(3, 1): 1}


async def test_a_delay_with_zeros_behind_passes_through_them_without_a_hop(
    transport, applied, names
):
    """A second is one queue: for its zero tenths the message is routed between exchanges only."""
    way = route(exact_units(1), "b.a")
    assert way.level == 1
    started = time.monotonic()
    await publish(transport, names.delay_exchange(way.level), way.routing_key, b"later")
    _, arrived = await first(transport, names.work("b.a"), settle=ack)
    assert arrived - started >= 1


async def test_a_longer_delay_does_not_hold_up_a_shorter_one(transport, applied, names):
    """Each queue has one TTL, so no message waits behind one with a longer delay."""
    for seconds in (1000, 0.2):
        way = route(exact_units(seconds), "a")
        body = str(seconds).encode()
        await publish(transport, names.delay_exchange(way.level), way.routing_key, body)
    body, _ = await first(transport, names.work("a"), settle=ack)
    assert body == b"0.2"
    assert await ready(transport, applied) == {names.delay_queue(4, 1): 1}


@pytest.mark.parametrize("queue", ["a", "b.a", "old"])
async def test_a_rejected_task_lands_in_its_own_dead_letter_queue(transport, applied, names, queue):
    """Quorum and classic queues dead-letter with the key of the logical queue."""
    await publish(transport, names.tasks, queue, b"bad")
    await first(transport, names.work(queue), settle=reject)
    await until_ready(transport, applied, {names.dlq(queue): 1})


async def test_a_delay_that_ends_at_a_missing_queue_is_parked(transport, applied, names):
    """The message is parked in the unroutable queue, and the delay queue still serves others."""
    for queue in ("gone", "a"):
        way = route(exact_units(0.1), queue)
        await publish(transport, names.delay_exchange(way.level), way.routing_key, queue.encode())
    await until_ready(transport, applied, {names.unroutable: 1, names.work("a"): 1})


async def test_a_dead_letter_without_its_queue_is_parked(transport, applied, names):
    """Deleting a dead-letter queue by hand loses no message."""
    gone = [queue for queue in applied.queues if queue.name == names.dlq("a")]
    await transport.delete(Entities(queues=tuple(gone)))
    await publish(transport, names.tasks, "a", b"bad")
    await first(transport, names.work("a"), settle=reject)
    await until_ready(transport, applied, {names.unroutable: 1})


async def test_a_binding_of_the_file_feeds_a_queue_from_an_external_exchange(
    transport, applied, names
):
    """The foreign exchange is bound, and neither declared nor deleted."""
    await publish(transport, "amq.topic", f"{names.namespace}.x", b"foreign")
    await until_ready(transport, applied, {names.work("a"): 1})
