"""The fixtures of the result backends' suite: the producer's and the worker's side of each."""

import asyncio
import gc
import uuid

import pytest
from support import remove_keys

from stem_amqp.results.factory import create
from stem_amqp.results.memory.backend import MemoryStore
from stem_amqp.testing.backend_contract.limits import LimitSides
from stem_amqp.testing.backend_contract.schedules import ScheduleSides
from stem_amqp.testing.backend_contract.sides import DAY, Sides
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport


class MemoryBrokers:
    """An in-memory broker, with any number of transports."""

    def __init__(self):
        self._broker = MemoryBroker()
        self._transports = []
        self.prefix = f"t-{uuid.uuid4().hex[:8]}"

    async def transport(self):
        """Return a connected transport."""
        transport = MemoryTransport(self._broker)
        await transport.connect()
        self._transports.append(transport)
        return transport

    async def close(self):
        """Close the transports."""
        for transport in self._transports:
            await transport.close()


@pytest.fixture(params=["memory", "sqlite", "redis", "postgresql", "rpc-memory", "rpc-rabbitmq"])
def kind(request):
    """Return the name of each backend; rpc:// runs over both transports, without limits and schedules."""
    if request.param.startswith("rpc") and {"limits", "schedules"} & {*request.fixturenames}:
        pytest.skip("rpc:// keeps neither limits nor schedules")
    return request.param


@pytest.fixture
def brokers(kind, request):
    """Return the broker of rpc://."""
    return request.getfixturevalue("rabbitmq") if kind == "rpc-rabbitmq" else MemoryBrokers()


@pytest.fixture
def store_url(kind, request, tmp_path):
    """Return the URL of each backend that stores results, and None for rpc://."""
    if kind == "redis":
        return request.getfixturevalue("stem_redis_url")
    if kind == "postgresql":
        return request.getfixturevalue("stem_postgres_url")
    urls = {"memory": f"memory://{uuid.uuid4().hex}", "sqlite": f"sqlite:///{tmp_path}/results.db"}
    return urls.get(kind)


@pytest.fixture
async def sides(kind, brokers, store_url):
    """Yield both sides of each backend, with a clock that stands still until it is moved."""
    clock = ManualClock()
    names = Names(f"t-{uuid.uuid4().hex[:8]}" if kind == "postgresql" else brokers.prefix)

    async def make():
        transport = await brokers.transport()
        return create(store_url or "rpc://", clock=clock, transport=transport, names=names, ttl=DAY)

    sides = await Sides(make, clock).open()
    sides.namespace = names.namespace
    yield sides
    await sides.close()
    await remove_groups(await brokers.transport(), names, sides.groups)
    if kind == "redis":
        await remove_keys(store_url, names.namespace)
    if kind == "memory":
        MemoryStore.forget(store_url.removeprefix("memory://"))
    if isinstance(brokers, MemoryBrokers):
        await brokers.close()


@pytest.fixture
async def limits(sides):
    """Yield the limit stores of both sides."""
    stores = [backend.limits(sides.clock) for backend in (sides.producer, sides.worker)]
    for store in stores:
        await store.open()
    yield LimitSides(stores, sides.clock)
    for store in stores:
        await store.close()


@pytest.fixture
async def schedules(sides):
    """Yield the schedule stores of both sides."""
    stores = [backend.schedules() for backend in (sides.producer, sides.worker)]
    for store in stores:
        await store.open()
    return ScheduleSides(*stores)


async def remove_groups(transport, names, group_ids):
    """Delete the queues of groups."""
    queues = [
        Queue(name=name)
        for group_id in group_ids
        for name in (
            names.group(group_id),
            names.group_claim(group_id),
            names.group_values(group_id),
        )
    ]
    await transport.delete(Entities(queues=tuple(queues)))


@pytest.fixture(autouse=True)
async def nothing_is_left(request):
    """Check that no task outlives the backends."""
    yield
    gc.collect()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task.get_name() for task in others if "stem-amqp" in task.get_name()] == []
