"""Connections to a broker and a result backend in memory, in place of an application's own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from stem_amqp.assembly import assembled
from stem_amqp.blocking.portal import Portal
from stem_amqp.connected import Connected
from stem_amqp.errors import StemError
from stem_amqp.event_loop import running_loop
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.provision.restore import TopologyRestorer
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.signing.source import seal_from
from stem_amqp.testing.kit.enqueued import EnqueuedTask, RecordingProducer
from stem_amqp.transport.base import Transport
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.memory.connection import MemoryConnection
from stem_amqp.transport.memory.declare import declare
from stem_amqp.transport.memory.link import Link
from stem_amqp.transport.publication import Publication

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.results.base import TaskRecord

PATIENCE = 1.0
"""Seconds for which a result may be waited for without a worker."""
_POLL = 0.01


class InMemory:
    """A broker and a backend that an application uses between `enter` and `leave`.

    The broker belongs to the event loop that used it last: that of an async test, of a test client's
    thread, or of a separate thread for synchronous code.

    Args:
        app: the application.
        clock: moved by hand.
    """

    def __init__(self, app: Stem, clock: ManualClock) -> None:
        self.app = app
        self.clock = clock
        self.recorded: list[EnqueuedTask] = []
        self._name = f"test-{uuid.uuid4().hex[:12]}"
        self.broker = MemoryBroker.named(self._name, clock)
        self._before = app.blueprint, dict(app.blueprint.overrides)
        self._portal: Portal | None = None
        self._declared: tuple[str, ...] | None = None

    def enter(self) -> None:
        """Replace the application's connections.

        Raises:
            StemError: they are replaced already.
            ConfigurationError: the topology needs a feature that the broker lacks, or a key is missing.
        """
        app, url = self.app, f"memory://{self._name}"
        if app.stand_in is not None:
            raise StemError(f"{app!r} is on a broker in memory already; do it once in a test")
        refuse_unsupported(app.topology, app.queues, self.broker.info)
        blueprint = app.blueprint.replace(
            broker_url=url, backend_url=url, provision="apply", tls_ca=None, clock=self.clock
        )
        app.swap(blueprint)
        try:
            self._connected = self._connect()
            self.declare()
        except BaseException:
            self.leave()
            raise
        app.swap(blueprint, self)

    def leave(self) -> None:
        """Restore the application's own connections."""
        blueprint, overrides = self._before
        self.app.swap(blueprint)
        blueprint.overrides.clear()
        blueprint.overrides.update(overrides)
        if self._portal is not None:
            self._portal.close()
        MemoryBroker.forget(self._name)
        MemoryStore.forget(self._name)

    @property
    def connected(self) -> Connected:
        """The connections, which are always open."""
        return self._connected

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in which another thread can use them."""
        here = running_loop()
        if here is not None:
            return here
        lives_in = self.broker.loop
        if lives_in is not None and lives_in.is_running():
            return lives_in
        if self._portal is None:
            self._portal = Portal()
        return self._portal.loop

    def move_here(self) -> None:
        """Move the broker to this event loop, unless there are consumers in another one."""
        if self.broker.loop is not asyncio.get_running_loop():
            if self.broker.engine.has_consumers:
                return  # the broker raises the error
            self.broker.leave_loop()

    def declare(self) -> None:
        """Declare the topology, including the queues of tasks that were defined meanwhile."""
        if self._declared != self.app.queues:
            self._declared = self.app.queues
            declare(self.broker.engine, self.app.blueprint.entities)

    def attach_restorer(self, transport: Transport) -> None:
        """Let a transport restore entities that a test has deleted.

        Args:
            transport: a transport to this broker.
        """
        transport.redeclare = self.redeclare
        transport.restorer = TopologyRestorer(
            transport, lambda: self.app.blueprint.entities, self.redeclare
        )

    async def redeclare(self) -> None:
        """Restore entities that a test has deleted."""
        declare(self.broker.engine, self.app.blueprint.entities)

    def _connect(self) -> Connected:
        transport = RoamingTransport(self)
        self.attach_restorer(transport)
        backend = ImpatientBackend(self)
        backend.begin()
        blueprint = self.app.blueprint
        return assembled(
            blueprint,
            transport=transport,
            broker=self.broker.info,
            backend=backend,
            seal=seal_from(blueprint.settings, blueprint.keys),
            make_producer=partial(RecordingProducer, self.recorded),
        )


class RoamingTransport(MemoryTransport):
    """A transport that needs no `connect`: it works in any event loop.

    Args:
        home: the stand-in with the broker.
    """

    def __init__(self, home: InMemory) -> None:
        self._home = home
        settings = home.app.settings
        super().__init__(
            home.broker,
            name="stem-amqp test",
            connect_timeout=settings.connect_timeout,
            publish_timeout=settings.publish_timeout,
        )

    @override
    def _make_link(self, **options: Any) -> Link:
        return RoamingLink(self.broker, move=self._home.move_here, **options)

    @override
    async def publish(self, publication: Publication) -> None:
        """Publish, also to the queue of a task that was only just defined."""
        self._home.declare()
        await super().publish(publication)


class RoamingLink(Link):
    """A link that opens automatically in the event loop that uses it.

    Args:
        broker: the broker.
        move: moves the broker to the running event loop.
        **options: as for `Link`.
    """

    def __init__(self, broker: MemoryBroker, *, move: Callable[[], None], **options: Any) -> None:
        super().__init__(broker, **options)
        self._move = move

    @override
    async def open(self) -> None:
        """Connect in this event loop."""
        self._move()
        await super().open()

    @override
    async def connected(self) -> MemoryConnection:
        """Return the connection in this event loop."""
        if self._loop is not asyncio.get_running_loop():
            await self.open()
        return await super().connected()

    @override
    async def running(self, timeout: float) -> None:
        """Wait until the broker answers."""
        if self._loop is not asyncio.get_running_loop():
            await self.open()
        await super().running(timeout)


class ImpatientBackend(MemoryBackend):
    """Results in memory; a wait for a result fails if there is no worker.

    Args:
        home: the stand-in with the broker.
    """

    def __init__(self, home: InMemory) -> None:
        name = home.app.settings.backend_url.get_secret_value().removeprefix("memory://")
        super().__init__(MemoryStore.named(name), home.clock)
        self._home = home

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
            StemError: there is no worker to run it.
        """
        waiting = asyncio.ensure_future(super().wait(task_id, timeout))
        try:
            left = PATIENCE
            while not waiting.done() and left > 0:
                await asyncio.wait({waiting}, timeout=_POLL)
                left = PATIENCE if self._home.broker.engine.has_consumers else left - _POLL
            if waiting.done():
                return waiting.result()
        finally:
            waiting.cancel()
        raise StemError(
            f"task {task_id} has not ended, and no worker runs.\n"
            "  Call `await stem_memory.run_due()` first (run_due_blocking() in a synchronous test;"
            " advance() for what is delayed), or wait inside `async with stem_memory.worker():`."
        )
