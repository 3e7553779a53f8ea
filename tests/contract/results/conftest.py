"""What the suite of the result backends needs: the producer's side of each, and the worker's."""

import asyncio
import gc
import uuid

import pytest
from support import remove_keys

from stem_amqp.message import new_id
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.factory import create
from stem_amqp.results.memory import MemoryStore
from stem_amqp.states import TaskState
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport

DAY = 86400.0


class MemoryBrokers:
    """An in-memory broker, with as many transports as are asked for."""

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


class Sides:
    """A backend as its users see it: a producer, a worker, and more of both.

    Attributes:
        producer: the instance in the process that enqueues.
        worker: the instance in the process that works.
        stores: whether results are stored where every instance sees them. rpc:// is told only what
            concerns its own tasks, so there a worker neither knows a task nor guards its states.
    """

    def __init__(self, make, clock, *, stores):
        self._make = make
        self.clock = clock
        self.stores = stores
        self.opened = []
        self.groups = []

    async def open(self):
        """Open both sides."""
        self.producer = await self.another()
        self.worker = await self.another()
        self.reply_to = await self.producer.reply_address()
        return self

    async def another(self):
        """Return one more open instance, as another process would have it."""
        backend = await self._make()
        await backend.open()
        self.opened.append(backend)
        return backend

    def change(self, task_id, state, **values):
        """Return a change as the producer or a worker makes it."""
        defaults = {"task": "shop.sync", "queue": "orders", "at": self.clock.time()}
        if state is TaskState.SUCCEEDED:
            defaults["result"] = b"1"
        values = {"ttl": DAY, "reply_to": self.reply_to} | defaults | values
        return Transition(task_id=task_id, state=TaskState(state), **values)

    def progress(self, task_id, fraction, ttl=DAY, **values):
        """Return progress as a worker makes it."""
        progress = Progress(fraction=fraction, at=self.clock.time(), **values)
        return ProgressUpdate(task_id=task_id, progress=progress, ttl=ttl, reply_to=self.reply_to)

    async def arrived(self):
        """Return once all that a worker wrote before can be seen by the producer."""
        marker = new_id()
        await self.worker.transition([self.change(marker, TaskState.SUCCEEDED)])
        await self.producer.wait(marker, 20)

    async def seen(self, task_id):
        """Return the producer's record, once all that was written has arrived."""
        await self.arrived()
        return await self.producer.get(task_id)

    async def queued(self, **values):
        """Note a new task as the producer does, and return its id."""
        task_id = new_id()
        change = self.change(task_id, TaskState.QUEUED, **values)
        assert await self.producer.transition([change]) == [True]
        return task_id

    async def group(self, size, *, ttl=DAY):
        """Create a group, and return its id."""
        group_id = self.group_id()
        await self.producer.create_group(group_id, size, ttl=ttl)
        return group_id

    def group_id(self):
        """Return an id whose queues are removed after the test."""
        self.groups.append(f"g-{uuid.uuid4().hex[:12]}")
        return self.groups[-1]

    async def close(self):
        """Close every instance."""
        for backend in self.opened:
            await backend.close()


@pytest.fixture(params=["memory", "sqlite", "redis", "postgresql", "rpc-memory", "rpc-rabbitmq"])
def kind(request):
    """Name each backend; rpc:// over both transports."""
    return request.param


@pytest.fixture
def brokers(kind, request):
    """Give what rpc:// works through."""
    return request.getfixturevalue("rabbitmq") if kind == "rpc-rabbitmq" else MemoryBrokers()


@pytest.fixture
def store_url(kind, request, tmp_path):
    """Give the URL of each backend that stores results, and None for rpc://."""
    if kind == "redis":
        return request.getfixturevalue("stem_redis_url")
    if kind == "postgresql":
        return request.getfixturevalue("stem_postgres_url")
    urls = {"memory": f"memory://{uuid.uuid4().hex}", "sqlite": f"sqlite:///{tmp_path}/results.db"}
    return urls.get(kind)


@pytest.fixture
async def sides(kind, brokers, store_url):
    """Give both sides of each backend, with a clock that stands still until it is moved."""
    clock = ManualClock()
    names = Names(f"t-{uuid.uuid4().hex[:8]}" if kind == "postgresql" else brokers.prefix)

    async def make():
        transport = await brokers.transport()
        return create(store_url or "rpc://", clock=clock, transport=transport, names=names, ttl=DAY)

    sides = await Sides(make, clock, stores=store_url is not None).open()
    yield sides
    await sides.close()
    await remove_groups(await brokers.transport(), names, sides.groups)
    if kind == "redis":
        await remove_keys(store_url, names.namespace)
    if kind == "memory":
        MemoryStore.forget(store_url.removeprefix("memory://"))
    if isinstance(brokers, MemoryBrokers):
        await brokers.close()


async def remove_groups(transport, names, group_ids):
    """Delete the queues of groups."""
    queues = [
        Queue(name=name)
        for group_id in group_ids
        for name in (names.group(group_id), names.group_claim(group_id))
    ]
    await transport.delete(Entities(queues=tuple(queues)))


@pytest.fixture(autouse=True)
async def nothing_is_left(request):
    """Make sure that no task outlives the backends."""
    yield
    gc.collect()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [task.get_name() for task in others if "stem-amqp" in task.get_name()] == []
