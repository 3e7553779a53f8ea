"""Fixtures with transports to a real broker, and with unique names that are deleted afterwards."""

import asyncio
import logging
import uuid

import pytest
from support import eventually

from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.transport.amqp.transport import AmqpTransport
from stem_amqp.transport.publication import Publication


class Bench:
    """Makes transports and queues, and deletes them afterwards."""

    def __init__(self, url):
        self.url = url
        self.namespace = f"t-{uuid.uuid4().hex[:8]}"
        self.transports = []
        self.declared = []

    async def connect(self, *urls, **options):
        """Return a connected transport."""
        transport = AmqpTransport(urls or [self.url], **({"name": self.namespace} | options))
        self.transports.append(transport)
        await transport.connect()
        return transport

    def name(self, suffix):
        """Return a name that no other test uses."""
        return f"{self.namespace}.{suffix}"

    async def queue(self, transport, suffix="work", **arguments):
        """Declare a quorum queue, and return its name."""
        entities = Entities(
            queues=(
                Queue(
                    name=self.name(suffix),
                    arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000} | arguments,
                ),
            )
        )
        self.declared.append(entities)
        await transport.declare(entities)
        return self.name(suffix)

    @staticmethod
    async def send(transport, queue, *bodies):
        """Publish messages to a queue, in order."""
        for body in bodies:
            await transport.publish(Publication(exchange="", routing_key=queue, body=body))

    eventually = staticmethod(eventually)

    async def clean_up(self):
        """Delete what was declared, close the transports, and assert that no task is left."""
        janitor = await self.connect()
        for entities in self.declared:
            await janitor.delete(entities)
        for transport in self.transports:
            await transport.close()
        left = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        assert [one for one in left if "aiormq" in repr(one) or "stem-amqp" in one.get_name()] == []


@pytest.fixture
async def bench(stem_broker_url):
    """Yield a bench for the broker under test."""
    bench = Bench(stem_broker_url)
    yield bench
    await bench.clean_up()


@pytest.fixture(autouse=True)
def no_noise(caplog):
    """Assert that no logger but stem_amqp's logs a warning."""
    caplog.set_level(logging.WARNING)
    yield
    strangers = [
        record.getMessage()
        for record in caplog.get_records("call")
        if not record.name.startswith("stem_amqp")
    ]
    assert strangers == []
