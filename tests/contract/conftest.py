"""The broker that the contract suite needs, the same for every transport."""

import asyncio
import os
import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from support import eventually, free_port

from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication


class Inbox:
    """Deliveries in the order of their arrival, each with its time."""

    def __init__(self, clock):
        self._clock = clock
        self.deliveries = []
        self.times = []

    def __call__(self, delivery):
        self.times.append(self._clock.time())
        self.deliveries.append(delivery)

    def __len__(self):
        return len(self.deliveries)

    @property
    def bodies(self):
        """The bodies of the deliveries that have arrived."""
        return [delivery.body for delivery in self.deliveries]

    async def until(self, count):
        """Wait for a number of deliveries, and return them."""
        await eventually(lambda: len(self) >= count, f"{count} deliveries, not {len(self)},")
        return list(self.deliveries)

    async def ack_all(self):
        """Acknowledge the deliveries that have arrived so far, and return their bodies."""
        arrived, self.deliveries = self.deliveries, []
        for delivery in arrived:
            await delivery.ack()
        return [delivery.body for delivery in arrived]


class Proxy:
    """A TCP proxy that can be cut, closed and frozen, to simulate network failures."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._server = None
        self._open = asyncio.Event()
        self._open.set()
        self._writers = set()
        self._tasks = set()
        self.port = free_port()

    async def start(self):
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self):
        """Stop listening, and close all connections."""
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Abort every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self):
        """Stop forwarding data."""
        self._open.clear()

    def thaw(self):
        """Forward all held data."""
        self._open.set()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._target)
            self._writers.add(back)
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        except OSError:
            writer.transport.abort()
        finally:
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


class Harness:
    """A broker under test, with names that only this test uses."""

    eventually = staticmethod(eventually)

    def __init__(self):
        self.prefix = f"t-{uuid.uuid4().hex[:8]}"
        self.transports = []
        self._declared = []

    async def transport(self, **options):
        """Return a connected transport, which is closed after the test."""
        transport = self.make(**options)
        self.transports.append(transport)
        await transport.connect()
        return transport

    def name(self, suffix):
        """Return a name that no other test uses."""
        return f"{self.prefix}.{suffix}"

    def queue(self, suffix, **arguments):
        """Return a quorum queue; x_message_ttl stands for x-message-ttl."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return Queue(name=self.name(suffix), arguments={"x-queue-type": "quorum"} | named)

    def exchange(self, suffix, kind="topic", **arguments):
        """Return an exchange; alternate_exchange stands for alternate-exchange."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return Exchange(name=self.name(suffix), type=kind, arguments=named)

    async def declare(self, *queues, exchanges=(), bindings=()):
        """Declare entities, and delete them after the test."""
        entities = Entities(exchanges=tuple(exchanges), queues=queues, bindings=tuple(bindings))
        self._declared.append(entities)
        await self.transports[0].declare(entities)
        return entities

    async def send(self, queue, *bodies):
        """Put messages into a queue, through the default exchange."""
        for body in bodies:
            message = Publication(exchange="", routing_key=queue.name, body=body)
            await self.transports[0].publish(message)

    def inbox(self):
        """Return an inbox for a consumer."""
        return Inbox(self.transports[0].clock)

    async def ready(self, queue, count):
        """Wait until a number of messages are ready in a queue."""

        async def has_them():
            status = (await self.transports[0].status([queue.name]))[queue.name]
            return status is not None and status.ready == count

        await eventually(has_them, f"{count} messages ready in {queue.name}")

    async def contents(self, queue):
        """Take all messages out of a queue, and return the deliveries."""
        async with self.transports[0].browse(queue.name) as deliveries:
            found = [delivery async for delivery in deliveries]
            for delivery in found:
                await delivery.ack()
        return found

    async def clean_up(self):
        """Close the transports, and delete the declared entities."""
        for transport in self.transports:
            await transport.close()
        janitor = self.make()
        await janitor.connect()
        for entities in self._declared:
            await janitor.delete(entities)
        await janitor.close()


class MemoryHarness(Harness):
    """The in-memory broker."""

    def __init__(self):
        super().__init__()
        self.broker = MemoryBroker()

    def make(self, **options):
        """Return a transport that is not connected."""
        return MemoryTransport(self.broker, **options)

    def cut(self):
        """Drop all connections."""
        self.broker.drop_connections()

    @asynccontextmanager
    async def outage(self):
        """Make the broker unavailable during the block."""
        with self.broker.outage():
            yield

    def freeze(self):
        """Stop the broker's answers."""
        self.broker.pause()

    def thaw(self):
        """Resume the broker's answers."""
        self.broker.resume()


class RabbitHarness(Harness):
    """A RabbitMQ behind a proxy."""

    def __init__(self, proxy, url):
        super().__init__()
        self._proxy = proxy
        self._url = url
        self.cut, self.freeze, self.thaw = proxy.cut, proxy.freeze, proxy.thaw

    def make(self, **options):
        """Return a transport that is not connected."""
        from stem_amqp.transport.amqp.transport import AmqpTransport

        timeouts = {"heartbeat": 30.0, "connect_timeout": 10.0, "publish_timeout": 10.0}
        return AmqpTransport([self._url], **({"name": self.prefix} | timeouts | options))

    @asynccontextmanager
    async def outage(self):
        """Make the broker unavailable during the block."""
        await self._proxy.stop()
        try:
            yield
        finally:
            await self._proxy.start()


@pytest.fixture(scope="session")
def rabbitmq_url(request):
    """Return the URL of a RabbitMQ: the session's, or the one in the environment."""
    try:
        return request.getfixturevalue("stem_broker_url")
    except pytest.FixtureLookupError:
        return os.environ.get("STEM_TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/")


@asynccontextmanager
async def _rabbitmq(url):
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname, parts.port or 5672)
    await proxy.start()
    login = parts.netloc.rpartition("@")[0]
    there = f"{login}@127.0.0.1:{proxy.port}" if login else f"127.0.0.1:{proxy.port}"
    try:
        yield RabbitHarness(proxy, parts._replace(netloc=there).geturl())
    finally:
        await proxy.stop()


@asynccontextmanager
async def _memory():
    yield MemoryHarness()


@pytest.fixture(params=["memory", "rabbitmq"])
async def harness(request):
    """Yield a broker for each test, first the in-memory one and then RabbitMQ."""
    is_memory = request.param == "memory"
    async with (
        _memory() if is_memory else _rabbitmq(request.getfixturevalue("rabbitmq_url")) as harness
    ):
        yield harness
        harness.thaw()
        await harness.clean_up()


@pytest.fixture
async def rabbitmq(rabbitmq_url):
    """Yield RabbitMQ alone, for behaviour that only it has."""
    async with _rabbitmq(rabbitmq_url) as harness:
        yield harness
        await harness.clean_up()


@pytest.fixture
async def transport(harness):
    """Return a connected transport."""
    return await harness.transport()
