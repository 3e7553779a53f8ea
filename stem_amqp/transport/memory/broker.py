"""The in-memory broker: connections, simulated faults, and inspection of its queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from stem_amqp.clock import Clock, SystemClock
from stem_amqp.errors import BrokerError, ConfigurationError, TopologyMissingError
from stem_amqp.temporary import Temporary
from stem_amqp.transport.base import BrokerInfo
from stem_amqp.transport.memory.connection import MemoryConnection
from stem_amqp.transport.memory.engine import Engine
from stem_amqp.transport.memory.faults import Refusal
from stem_amqp.transport.memory.message import Message
from stem_amqp.transport.memory.queue import MemoryQueue
from stem_amqp.transport.publication import Publication

_FOLLOWS = (3, 13, 0)
"""The RabbitMQ release whose rules it follows."""


class MemoryBroker:
    """A broker in this process, with RabbitMQ's rules for exchanges, queues and dead letters.

    It belongs to one event loop at a time. A later loop finds the messages of an earlier one, as on
    RabbitMQ; two concurrent loops are refused.

    Args:
        name: its name, as in ``memory://name``.
        clock: the clock for TTLs; a `ManualClock` is advanced manually.
    """

    _named: ClassVar[dict[str, MemoryBroker]] = {}

    def __init__(self, *, name: str = "memory", clock: Clock | None = None) -> None:
        self.name = name
        self.clock: Clock = clock or SystemClock()
        self.info = BrokerInfo(product="memory", version=_FOLLOWS, cluster=name)
        self.engine = Engine(self.clock)
        self._connections: dict[MemoryConnection, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refusal: Refusal | None = None
        self._is_up = True
        self._is_paused = False
        self._up = asyncio.Event()
        self._running = asyncio.Event()

    @classmethod
    def named(cls, name: str, clock: Clock | None = None) -> MemoryBroker:
        """Return the broker of a name in this process; it is created on first use and kept until `forget`.

        Args:
            name: the name after ``memory://``.
            clock: the clock of a new broker.

        Raises:
            ConfigurationError: it exists with another clock.
        """
        broker = cls._named.get(name)
        if broker is None:
            broker = cls._named[name] = cls(name=name, clock=clock)
        elif clock is not None and broker.clock is not clock:
            raise ConfigurationError(
                f"memory://{name} exists with another clock; give the broker a name of"
                " its own, such as memory://my-test"
            )
        return broker

    @classmethod
    def forget(cls, name: str) -> None:
        """Remove a broker, so that the next `named` creates a new, empty one."""
        cls._named.pop(name, None)

    def connect(self, on_lost: Callable[[str], None]) -> MemoryConnection:
        """Open a connection from the running event loop.

        Args:
            on_lost: called with the reason when the connection is lost.

        Raises:
            ConfigurationError: another event loop uses this broker.
        """
        self._bind_to(asyncio.get_running_loop())
        connection = MemoryConnection(self.engine, on_lost)
        self._connections[connection] = None
        return connection

    def disconnect(self, connection: MemoryConnection) -> None:
        """Close a connection."""
        self._connections.pop(connection, None)
        connection.close()

    def publish(self, publication: Publication) -> None:
        """Route a publication to its queues.

        Raises:
            UnroutableError: it matches no queue.
            PublishRefusedError: a full queue refused it.
            UnwritableError: it cannot be encoded as AMQP.
            BrokerError: the error set with `refuse_publishes`.
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
        """Whether it is neither paused nor in an outage."""
        return self._is_up and not self._is_paused

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Its event loop; None before the first connection."""
        return self._loop

    def leave_loop(self) -> None:
        """Release the event loop for the next one that connects; unsettled deliveries are requeued.

        The connections and their exclusive queues end without notification.
        """
        while self._connections:
            self.disconnect(next(iter(self._connections)))
        self._loop = None

    async def wait_up(self) -> None:
        """Wait until connections are possible."""
        self._bind_to(asyncio.get_running_loop())
        await self._up.wait()

    async def wait_running(self) -> None:
        """Wait until it is running."""
        while not self.is_running:
            await self._up.wait()
            await self._running.wait()

    def messages(self, queue: str) -> list[Message]:
        """Return the ready messages of a queue, in the order of delivery.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        return self._queue(queue).messages()

    def kept_dead_letters(self, queue: str) -> list[Message]:
        """Return the dead letters that a queue keeps because their target is missing or full.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        return list(self._queue(queue).held)

    def drop_connections(self, reason: str = "connection dropped by a test") -> None:
        """Lose every connection at once.

        Unsettled deliveries are requeued and exclusive queues deleted. The transports connect and
        consume again by themselves, in the next turns of the event loop. Call it in that loop.

        Args:
            reason: the error of `ConnectionChange`.
        """
        connections, self._connections = self._connections, {}
        for connection in connections:
            connection.lose(reason)

    def drop(self, connection: MemoryConnection, reason: str) -> None:
        """Lose one connection; see `drop_connections`."""
        if self._connections.pop(connection, connection) is None:
            connection.lose(reason)

    def outage(self, reason: str = "broker stopped by a test") -> Temporary:
        """Start an outage: connections are lost and none can be opened.

        Args:
            reason: the error of `ConnectionChange`.

        Returns:
            The outage, which ends with its block, ``with broker.outage():``, or with its `end`.
        """
        self._is_up = False
        self._up.clear()
        self.drop_connections(reason)
        return Temporary(self._end_outage)

    def _end_outage(self) -> None:
        self._is_up = True
        self._up.set()

    def pause(self) -> None:
        """Stop deliveries and confirms until `resume`, like a broker that hangs."""
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
        """Make publishes fail, until `accept_publishes`.

        Args:
            error: the error that they raise, such as ``PublishRefusedError("full")``.
            exchange: only publishes to this exchange; None for all.
            times: the number of failures; None for all publishes.
            accepted: whether the message is routed anyway, as if only its confirm was lost.
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

    def _bind_to(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise ConfigurationError(
                f"memory://{self.name} is used by another event loop, and only one can use it at"
                " a time.\n  Close the other one first, or use another name."
            )
        # Requeue unsettled deliveries of a closed loop, which cannot be notified
        while self._connections:
            self.disconnect(next(iter(self._connections)))
        self._loop = loop
        self._up, self._running = asyncio.Event(), asyncio.Event()
        if self._is_up:
            self._up.set()
        if not self._is_paused:
            self._running.set()
        self.engine.run_in(loop)
