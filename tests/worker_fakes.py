"""Fakes for the tests of the worker: a broker, a backend and a clock, without a server."""

import asyncio

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.context.context import TaskContext
from stem_amqp.errors import StaleDeliveryError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.settings import Settings
from stem_amqp.signing.keyring import KeyRing
from stem_amqp.signing.keys import HmacKey
from stem_amqp.signing.seal import Seal
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.base import Consumer, QueueStatus
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import LARGEST_HEADERS
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.gates.limits.gate import LimitGate
from stem_amqp.worker.job import Job
from stem_amqp.worker.running.resources import Resources
from stem_amqp.worker.running.run import Runs
from stem_amqp.worker.running.threads import ThreadPool

NOW = 1_800_000_000.0
"""The current time in these tests, in seconds since the epoch."""
QUEUE = "orders"


class FakeClock:
    """A clock that is set manually."""

    def __init__(self):
        self.at = NOW

    def time(self):
        """Return the time."""
        return self.at


def topology(text=""):
    """Return the topology of a file that is given without its first line."""
    return parse_topology(f"version: 1\n{text}")


def body(task="work", **fields):
    """Return the body of a message."""
    message = {"id": "t1", "args": {}, "enqueued_at": "2027-01-15T07:59:59.000Z", **fields}
    return TaskMessage(task=task, **message).encode()


def job(content=None, *, headers=None, queue=QUEUE, **fields):
    """Return a job as it arrives from a queue, before its body is decoded."""
    return Job(
        body=body() if content is None else content, headers=headers or {}, queue=queue, **fields
    )


def read_job(definition=None, *, headers=None, options=None, **fields):
    """Return a job with a decoded body."""
    made = job(headers=headers, **fields)
    made.message = TaskMessage(
        id="t1", task="work", args={}, enqueued_at="2027-01-15T07:59:59.000Z", options=options or {}
    )
    made.definition = definition
    return made


def seal():
    """Return a seal that signs messages, and accepts only signed ones."""
    ring = KeyRing.of(HmacKey("k", b"k" * 32, active=True))
    return Seal(ring=ring, namespace="t", required=True)


class FakeDelivery(Delivery):
    """A delivery that records how it is settled."""

    def __init__(self, events=None, *, content=b"{}", headers=None, **properties):
        self.events = [] if events is None else events
        self.body = content
        self.headers = headers or {}
        self.exchange, self.routing_key = "stem.tasks", QUEUE
        self.stale = False
        self.redelivered = False
        self.type = self.correlation_id = self.message_id = self.reply_to = None
        self.priority = self.app_id = self.content_type = self.timestamp = None
        for name, value in properties.items():
            setattr(self, name, value)

    async def ack(self):
        """Record the ack."""
        self._settle("ack")

    async def nack(self, *, requeue):
        """Record the nack."""
        self._settle("nack, requeue" if requeue else "nack")

    async def reject(self, *, requeue):
        """Record the reject."""
        self._settle("reject, requeue" if requeue else "reject")

    def _settle(self, how):
        if self.stale:
            raise StaleDeliveryError("the channel is gone")
        self.events.append(how)


class FakeConsumer(Consumer):
    """A consumer that is identified by its queue."""

    def __init__(self, queue, prefetch, on_delivery, on_missing):
        self.queue = queue
        self.prefetch = prefetch
        self.on_delivery = on_delivery
        self.on_missing = on_missing
        self.stopped = self.closed = False

    @property
    def consuming(self):
        """Whether it was not stopped."""
        return not self.stopped

    async def stop(self):
        """Record the stop."""
        self.stopped = True

    async def close(self):
        """Record the close."""
        self.stopped = self.closed = True


class FakeTransport:
    """A transport that records publishes, and fails as configured."""

    largest_headers = LARGEST_HEADERS

    def __init__(self, events=None, queues=()):
        self.events = [] if events is None else events
        self.clock = FakeClock()
        self.published = []
        self.errors = []
        """The errors of the next publishes, one each; None lets a publish succeed."""
        self.queues = set(queues)
        self.consumers = []
        self.tags = []

    async def publish(self, publication):
        """Record a publication."""
        await asyncio.sleep(0)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            self.events.append("publish fails")
            raise error
        self.events.append("publish")
        self.published.append(publication)

    async def status(self, names):
        """Return the status of the existing queues."""
        return {
            name: QueueStatus(name=name, ready=0, consumers=0) if name in self.queues else None
            for name in names
        }

    async def consume(self, queue, on_delivery, *, prefetch, tag, on_missing=None):
        """Return a new consumer."""
        consumer = FakeConsumer(queue, prefetch, on_delivery, on_missing)
        self.consumers.append(consumer)
        self.tags.append(tag)
        return consumer


class FakeWriter:
    """A result writer that records what is stored, and fails as configured."""

    def __init__(self, events=None):
        self.events = [] if events is None else events
        self.changes = []
        self.errors = []

    async def write(self, change):
        """Record a change."""
        await asyncio.sleep(0)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            self.events.append("store fails")
            raise error
        self.events.append(f"store {change.state.value}")
        self.changes.append(change)
        return True


class FakeKeys:
    """The part of a backend that keeps the keys of unique tasks."""

    def __init__(self, events=None):
        self.events = [] if events is None else events
        self.error = None

    async def release_key(self, key, owner):
        """Record the release."""
        if self.error is not None:
            raise self.error
        self.events.append(f"release {key} of {owner}")


class FakeWatcher:
    """A watcher that returns configured answers, and records its calls."""

    def __init__(self):
        self.begun = []
        self.progress = []
        self.ends = []
        self.revocations = {}
        self.asked = []
        self.earlier = None
        self.error = None

    async def started(self, job):
        """Record a start."""
        if self.error is not None:
            raise self.error
        self.begun.append(job)

    def progressed(self, job, progress):
        """Record progress."""
        self.progress.append(progress)

    def revoked(self, message, queue):
        """Return why a task is revoked."""
        return self.revocations.get(message.id)

    async def processed_state(self, job):
        """Return the outcome of an earlier delivery."""
        self.asked.append(job)
        return self.earlier

    async def ended(self, job, *, settled):
        """Record an end."""
        self.ends.append(settled)


def make_blueprint(text="", *, middleware=(), **settings):
    """Return the blueprint of an application with a topology."""
    return Blueprint.build(
        Settings(broker_url="memory://", **settings), topology=topology(text), middleware=middleware
    )


def connections(transport, *, backend=None, writer=None, seal=None):
    """Return connections that consist of fakes."""
    return Connected(
        transport=transport, broker=None, backend=backend, writer=writer, producer=None, seal=seal
    )


class Rig:
    """An executor with fakes around it, and the tasks that a test adds."""

    def __init__(self, text="", *, seal=None, middleware=(), admission=None, runs=None, **settings):
        blueprint = make_blueprint(text, middleware=middleware, **settings)
        transport = FakeTransport()
        backend = MemoryBackend(MemoryStore(), transport.clock)
        connected = connections(transport, backend=backend, seal=seal)
        self.clock = transport.clock
        self.watcher = FakeWatcher()
        self.registry = blueprint.registry
        self.threads = ThreadPool(2)
        self.executor = Executor(
            blueprint,
            connected,
            watcher=self.watcher,
            runs=Runs(
                blueprint,
                connected,
                threads=self.threads,
                watcher=self.watcher,
                resources=Resources({}, blueprint.settings),
                app=None,
                worker="w",
                **(runs or {}),
            ),
            admission=admission,
            limits=LimitGate(
                blueprint, backend.limits(), transport=transport, telemetry=blueprint.telemetry
            ),
        )

    def task(self, function, name="work", **options):
        """Register a function as a task."""
        definition = TaskDefinition.build(name, function, TaskOptions.build(options), TaskContext)
        self.registry.add(definition)
        return definition

    async def run(self, function, content=None, *, task=None, **fields):
        """Register a function as the task ``work``, and execute one job of it."""
        self.task(function, **(task or {}))
        return await self.executor.execute(job(content, **fields))
