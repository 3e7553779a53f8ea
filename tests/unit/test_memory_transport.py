"""The transport to the in-memory broker: the broker of a URL, and its event loop."""

import asyncio

import pytest

from stem_amqp.errors import BrokerUnavailableError, ConfigurationError, TopologyMissingError
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

WORK = Entities(queues=(Queue(name="work"),))
MESSAGE = Publication(exchange="", routing_key="work", body=b"x")


@pytest.fixture
def url():
    """Yield a URL, and remove its broker afterwards."""
    yield "memory://here"
    MemoryBroker.forget("here")


def test_the_same_url_is_the_same_broker(url):
    """Each name is a broker, and the plain URL has its own broker."""
    first, second = MemoryTransport.from_url(url), MemoryTransport.from_url(url + "/")
    plain = MemoryTransport.from_url("memory://", publish_timeout=1.0)
    assert first.broker is second.broker
    assert plain.broker is MemoryBroker.named("default")
    assert plain.broker is not first.broker
    MemoryBroker.forget("default")
    assert MemoryBroker.named("default") is not plain.broker
    MemoryBroker.forget("default")


def test_a_named_broker_can_be_made_with_a_clock(url):
    """Users of the URL get the clock too; a clock for an existing broker is refused."""
    clock = ManualClock()
    broker = MemoryBroker.named("here", clock=clock)
    assert MemoryTransport.from_url(url).clock is clock
    assert MemoryBroker.named("here", clock=clock) is broker
    with pytest.raises(ConfigurationError, match="another clock"):
        MemoryBroker.named("here", clock=ManualClock())


def test_another_kind_of_url_is_refused():
    """The error shows the correct form but not the URL, which may hold a password."""
    with pytest.raises(ConfigurationError, match="memory://name") as caught:
        MemoryTransport.from_url("amqp://user:secret@host/")
    assert "secret" not in str(caught.value)


async def test_transports_of_one_url_reach_each_other(url):
    """One receives what the other sends, also after the sender is closed."""
    sender = MemoryTransport.from_url(url)
    await sender.connect()
    await sender.declare(WORK)
    await sender.publish(MESSAGE)
    await sender.close()
    receiver = MemoryTransport.from_url(url)
    await receiver.connect()
    async with receiver.browse("work") as deliveries:
        assert (await anext(deliveries)).body == b"x"
    await receiver.close()


def test_a_later_event_loop_finds_the_messages(url):
    """One run enqueues and the next one consumes, as two processes do with RabbitMQ."""
    transport = MemoryTransport.from_url(url)

    async def enqueue():
        await transport.connect()
        await transport.declare(WORK)
        await transport.publish(MESSAGE)
        await transport.consume("work", print, prefetch=5, tag="never closed")

    async def look():
        await transport.connect()
        first = (await transport.status(["work"]))["work"]
        transport.broker.drop_connections()
        await asyncio.sleep(0.02)
        second = (await transport.status(["work"]))["work"]
        await transport.close()
        return [(status.ready, status.consumers) for status in (first, second)]

    asyncio.run(enqueue())
    assert asyncio.run(look()) == [(1, 0), (1, 0)]


def test_a_later_event_loop_lets_expire_what_is_due(url):
    """A TTL that began in one event loop ends in the next."""
    transport = MemoryTransport.from_url(url)
    arguments = {
        "x-message-ttl": 50,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "late",
    }
    queues = (Queue(name="work", arguments=arguments), Queue(name="late"))

    async def enqueue():
        await transport.connect()
        await transport.declare(Entities(queues=queues))
        await transport.publish(MESSAGE)
        await transport.close()

    async def wait():
        await transport.connect()
        arrived = asyncio.Event()
        await transport.consume("late", lambda _: arrived.set(), prefetch=1, tag="c1")
        async with asyncio.timeout(60):
            await arrived.wait()
        await transport.close()

    asyncio.run(enqueue())
    asyncio.run(wait())
    assert transport.broker.messages("work") == []


async def test_two_event_loops_at_once_are_refused(url):
    """The error names the broker and the remedy."""
    transport = MemoryTransport.from_url(url)
    await transport.connect()
    with pytest.raises(ConfigurationError, match=r"memory://here is used by another event loop"):
        await asyncio.to_thread(asyncio.run, MemoryTransport.from_url(url).connect())
    await transport.close()


async def test_nothing_works_before_connecting():
    """The error says at once which method to call."""
    transport = MemoryTransport(MemoryBroker())
    for call in (transport.publish(MESSAGE), transport.status(["work"])):
        with pytest.raises(BrokerUnavailableError, match=r"connect\(\) first"):
            await call


async def test_a_closed_transport_can_connect_again():
    """A second connect does nothing, and a closed transport can be connected again."""
    transport = MemoryTransport(MemoryBroker())
    for _ in range(2):
        await transport.connect()
        assert str(await transport.connect()).startswith("memory ")
        await transport.declare(WORK)
        await transport.close()
    assert not transport.broker._connections


async def test_publishing_in_a_row_lets_consumers_run():
    """A producer that publishes in a row does not starve the consumers."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    await transport.declare(WORK)
    seen_while_publishing = []
    await transport.consume("work", seen_while_publishing.append, prefetch=1000, tag="c1")
    for _ in range(100):
        await transport.publish(MESSAGE)
    assert len(seen_while_publishing) > 50
    await transport.close()


async def test_a_cancelled_publish_has_not_happened():
    """A publish can be cancelled only before the message is sent."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    await transport.declare(WORK)
    sent = 0

    async def publish_on():
        nonlocal sent
        while True:
            await transport.publish(MESSAGE)
            sent += 1

    publishing = asyncio.create_task(publish_on())
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert len(transport.broker.messages("work")) == sent > 0
    await transport.close()


async def test_a_redeclare_that_fails_is_reported():
    """Consume raises that the queue is missing, and why it could not be declared."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()

    async def redeclare():
        raise ConfigurationError("the file is gone")

    transport.redeclare = redeclare
    with pytest.raises(TopologyMissingError, match="the file is gone"):
        await transport.consume("work", print, prefetch=1, tag="c1")
    await transport.close()
