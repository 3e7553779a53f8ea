"""Connections to a broker and a result backend in memory, in the place of an application's own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from stem_amqp.assembly import Connected, assembled, entities_of
from stem_amqp.errors import StemError
from stem_amqp.portal import Portal
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.results.memory import MemoryBackend, MemoryStore
from stem_amqp.signing.source import seal_from
from stem_amqp.testing.kit.enqueued import EnqueuedTask, RecordingProducer
from stem_amqp.transport.base import Publication
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.memory.connection import Connection
from stem_amqp.transport.memory.declare import declare
from stem_amqp.transport.memory.link import Link

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.results.base import TaskRecord

PATIENCE = 1.0
"""Seconds that somebody may wait for a result while no worker is there."""
_POLL = 0.01


class InMemory:
    """A broker and a backend of their own, which an application uses between `enter` and `leave`.

    The broker lives in the event loop in which it was used last: that of an async test, of a test
    client's thread, or of a thread of its own for synchronous code.

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
        self._before = app.settings, app.clock
        self._portal: Portal | None = None
        self._declared: tuple[str, ...] | None = None

    def enter(self) -> None:
        """Be the application's connections from now on.

        Raises:
            StemError: it has such connections already.
            ConfigurationError: the topology needs what the broker has not, or a key is missing.
        """
        app, url = self.app, f"memory://{self._name}"
        if app.stand_in is not None:
            raise StemError(f"{app!r} is on a broker in memory already; do it once in a test")
        refuse_unsupported(app.topology, app.queues, self.broker.info)
        app.settings = app.settings.replace(
            broker_url=url, backend_url=url, provision="apply", tls_ca=None
        )
        try:
            self._connected = self._connect()
            self.declare()
        except BaseException:
            self.leave()
            raise
        app.clock = self.clock
        app.stand_in = self

    def leave(self) -> None:
        """Give the application back its own."""
        self.app.stand_in = None
        self.app.settings, self.app.clock = self._before
        if self._portal is not None:
            self._portal.close()
        MemoryBroker.forget(self._name)
        MemoryStore.forget(self._name)

    @property
    def connected(self) -> Connected:
        """The connections, open at any time."""
        return self._connected

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in which they can be used from another thread."""
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
        lives_in = self.broker.loop
        if lives_in is not None and lives_in.is_running():
            return lives_in
        if self._portal is None:
            self._portal = Portal()
        return self._portal.loop

    def move_here(self) -> None:
        """Let the broker live in this event loop, unless somebody consumes in another one."""
        if self.broker.loop is not asyncio.get_running_loop():
            if self.broker.engine.has_consumers:
                return  # the broker says what is wrong
            self.broker.leave_loop()

    def declare(self) -> None:
        """Declare the topology; also the queues of tasks that were defined meanwhile."""
        if self._declared != self.app.queues:
            self._declared = self.app.queues
            declare(self.broker.engine, entities_of(self.app))

    async def redeclare(self) -> None:
        """Bring back what a test has deleted."""
        declare(self.broker.engine, entities_of(self.app))

    def _connect(self) -> Connected:
        transport = RoamingTransport(self)
        transport.redeclare = self.redeclare
        backend = ImpatientBackend(self)
        backend.begin()
        return assembled(
            self.app,
            self.app.settings,
            transport=transport,
            broker=self.broker.info,
            backend=backend,
            seal=seal_from(self.app.settings, self.app.keys),
            make_producer=partial(RecordingProducer, self.recorded),
        )


class RoamingTransport(MemoryTransport):
    """A transport that needs no `connect`: it works in whatever event loop it is used.

    Args:
        home: where the broker is.
    """

    def __init__(self, home: InMemory) -> None:
        self._home = home
        settings = home.app.settings
        super().__init__(
            home.broker, name="stem-amqp test", publish_timeout=settings.publish_timeout
        )

    def _make_link(self, **options: Any) -> Link:
        return RoamingLink(self.broker, move=self._home.move_here, **options)

    async def publish(self, publication: Publication) -> None:
        """Publish, also to a queue of a task that was defined just now."""
        self._home.declare()
        await super().publish(publication)


class RoamingLink(Link):
    """A link that opens by itself, in the event loop that needs it.

    Args:
        broker: the broker.
        move: lets the broker live in the running event loop.
        **options: as for `Link`.
    """

    def __init__(self, broker: MemoryBroker, *, move: Callable[[], None], **options: Any) -> None:
        super().__init__(broker, **options)
        self._move = move

    async def open(self) -> None:
        """Connect in this event loop."""
        self._move()
        await super().open()

    async def connected(self) -> Connection:
        """Return the connection in this event loop."""
        if self._loop is not asyncio.get_running_loop():
            await self.open()
        return await super().connected()

    async def running(self, timeout: float) -> None:
        """Wait until the broker answers."""
        if self._loop is not asyncio.get_running_loop():
            await self.open()
        await super().running(timeout)


class ImpatientBackend(MemoryBackend):
    """Results in memory; who waits for one that nobody works on is told so.

    Args:
        home: where the broker is.
    """

    def __init__(self, home: InMemory) -> None:
        name = home.app.settings.backend_url.get_secret_value().removeprefix("memory://")
        super().__init__(MemoryStore.named(name), home.clock)
        self._home = home

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
            StemError: no worker is there to run it.
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
            f"task {task_id} has not ended, and no worker is there to run it.\n"
            "  Call `await stem_memory.run_due()` first (run_due_blocking() in a synchronous test;"
            " advance() for what is delayed), or wait inside `async with stem_memory.worker():`."
        )
