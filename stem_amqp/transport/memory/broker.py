"""The in-memory broker: connections to it, faults on demand, and a look inside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from stem_amqp.clock import Clock, SystemClock
from stem_amqp.errors import BrokerError, ConfigurationError, TopologyMissingError
from stem_amqp.transport.base import BrokerInfo, Publication
from stem_amqp.transport.memory.connection import Connection
from stem_amqp.transport.memory.engine import Engine
from stem_amqp.transport.memory.faults import Refusal
from stem_amqp.transport.memory.message import Message
from stem_amqp.transport.memory.queue import MemoryQueue

_FOLLOWS = (3, 13, 0)
"""The RabbitMQ release whose rules it follows."""


class MemoryBroker:
    """A broker in this process, with RabbitMQ's rules for exchanges, queues and dead letters.

    It lives in one event loop at a time. A later loop finds the messages that an earlier one left,
    as it would on RabbitMQ; two loops at once are refused.

    Args:
        name: its name, as in ``memory://name``.
        clock: the time that TTLs are measured with; a `ManualClock` is moved by hand.
    """

    _named: ClassVar[dict[str, MemoryBroker]] = {}

    def __init__(self, *, name: str = "memory", clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.info = BrokerInfo(product="memory", version=_FOLLOWS, cluster=name)
        self.engine = Engine(self.clock)
        self._connections: dict[Connection, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusal: Refusal | None = None
        self._is_up = True
        self._is_paused = False
        self._up = asyncio.Event()
        self._running = asyncio.Event()

    @classmethod
    def named(cls, name: str, clock: Clock | None = None) -> MemoryBroker:
        """Return this process's broker of a name; it is made on first use and stays until `forget`.

        Args:
            name: what stands after ``memory://``.
            clock: the time to measure with, for the one that makes it.

        Raises:
            ConfigurationError: it is there already, with another clock.
        """
        broker = cls._named.get(name)
        if broker is None:
            broker = cls._named[name] = cls(name=name, clock=clock)
        elif clock is not None and broker.clock is not clock:
            raise ConfigurationError(
                f"memory://{name} is there already with another clock; give the broker a name of"
                " its own, such as memory://my-test"
            )
        return broker

    @classmethod
    def forget(cls, name: str) -> None:
        """Let the next `named` make a new, empty broker."""
        cls._named.pop(name, None)

    def connect(self, on_lost: Callable[[str], None]) -> Connection:
        """Open a connection from the running event loop.

        Args:
            on_lost: called with the reason when the connection is lost.

        Raises:
            ConfigurationError: another event loop uses this broker.
        """
        self._live_in(asyncio.get_running_loop())
        connection = Connection(self.engine, on_lost)
        self._connections[connection] = None
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Close a connection."""
        self._connections.pop(connection, None)
        connection.close()

    def publish(self, publication: Publication) -> None:
        """Route a publication to its queues.

        Raises:
            UnroutableError: no queue took it.
            PublishRefusedError: a full queue refused it.
            UnwritableError: it cannot be written as AMQP.
            BrokerError: as `refuse_publishes` asks for.
        """
        refusal = self._refusal
        if refusal is None or not refusal.applies(publication):
            self.engine.publish(publication)
            return
        if refusal.accepted:
            self.engine.publish(publication)
        raise refusal.fresh_error()

    @property
    def is_running(self) -> bool:
        """Whether it answers: neither paused nor in an outage."""
        return self._is_up and not self._is_paused

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it lives in, once somebody has connected."""
        return self._loop

    def leave_loop(self) -> None:
        """Let the next event loop that connects have it; what is unsettled goes back.

        Nobody is told that the connections end, and exclusive queues end with them.
        """
        while self._connections:
            self.disconnect(next(iter(self._connections)))
        self._loop = None

    async def wait_up(self) -> None:
        """Wait until connections are possible."""
        self._live_in(asyncio.get_running_loop())
        await self._up.wait()

    async def wait_running(self) -> None:
        """Wait until it answers."""
        while not self.is_running:
            await self._up.wait()
            await self._running.wait()

    def messages(self, queue: str) -> list[Message]:
        """Return what is ready in a queue, in the order of delivery.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        return self._queue(queue).messages()

    def kept_dead_letters(self, queue: str) -> list[Message]:
        """Return the dead letters that a queue keeps because they have no route or no room.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        return list(self._queue(queue).held)

    def drop_connections(self, reason: str = "connection dropped by a test") -> None:
        """Lose every connection at once.

        Unsettled deliveries go back to their queues and exclusive queues disappear. The transports
        connect and consume again by themselves, in the event loop's next turns. To be called in
        that loop.

        Args:
            reason: what `ConnectionChange` tells.
        """
        connections, self._connections = self._connections, {}
        for connection in connections:
            connection.lose(reason)

    def drop(self, connection: Connection, reason: str) -> None:
        """Lose one connection, as `drop_connections` does all."""
        if self._connections.pop(connection, connection) is None:
            connection.lose(reason)

    @contextmanager
    def outage(self, reason: str = "broker stopped by a test") -> Iterator[None]:
        """Be gone for the time of a block: connections are lost and none can be had.

        Args:
            reason: what `ConnectionChange` tells.
        """
        self._is_up = False
        self._up.clear()
        self.drop_connections(reason)
        try:
            yield
        finally:
            self._is_up = True
            self._up.set()

    def pause(self) -> None:
        """Deliver nothing and confirm nothing until `resume`, like a broker that hangs."""
        self._is_paused = True
        self._running.clear()
        self.engine.pause(paused=True)

    def resume(self) -> None:
        """End a `pause`."""
        self._is_paused = False
        self._running.set()
        self.engine.pause(paused=False)

    def refuse_publishes(
        self,
        error: BrokerError,
        *,
        exchange: str | None = None,
        times: int | None = None,
        accepted: bool = False,
    ) -> None:
        """Let publishes fail, until `accept_publishes`.

        Args:
            error: what they fail with, such as ``PublishRefusedError("full")``.
            exchange: only those to this exchange; None for all.
            times: how many fail; None for all.
            accepted: whether the message arrives all the same, as when only its confirm is lost.
        """
        self._refusal = Refusal(error=error, exchange=exchange, times=times, accepted=accepted)

    def accept_publishes(self) -> None:
        """End `refuse_publishes`."""
        self._refusal = None

    def _queue(self, name: str) -> MemoryQueue:
        queue = self.engine.router.queues.get(name)
        if queue is None:
            known = ", ".join(sorted(self.engine.router.queues)) or "none at all"
            raise TopologyMissingError(f"there is no queue {name!r}; there is {known}")
        return queue

    def _live_in(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError(
                f"memory://{self.name} is used by another event loop, and only one can use it at"
                " a time.\n  Close the other one first, or use another name."
            )
        # What a dead loop left unsettled goes back; nobody is there to be told.
        while self._connections:
            self.disconnect(next(iter(self._connections)))
        self._loop = loop
        self._up, self._running = asyncio.Event(), asyncio.Event()
        if self._is_up:
            self._up.set()
        if not self._is_paused:
            self._running.set()
        self.engine.run_in(loop)
