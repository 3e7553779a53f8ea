"""The connections of an application: opened by async code, by synchronous code, or by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from stem_amqp.assembly import connect
from stem_amqp.blocking.portal import Portal, run_in
from stem_amqp.blocking.producer import BlockingProducer
from stem_amqp.blueprint import Blueprint
from stem_amqp.configured import Configured
from stem_amqp.connected import Connected, StandIn
from stem_amqp.durations import Duration
from stem_amqp.errors import StemError
from stem_amqp.event_loop import LoopBinding
from stem_amqp.topology.model import Topology
from stem_amqp.transport.memory import MemoryTransport

T = TypeVar("T")


class Connectable(Configured):
    """An application that connects to its broker and its result backend.

    Args:
        blueprint: the application's blueprint.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__(blueprint)
        self._stand_in: StandIn | None = None
        self._connected: Connected | None = None
        self._home = LoopBinding("this Stem")
        self._portal: Portal | None = None
        self._blocking = BlockingProducer(self)
        self._users = 0

    @property
    def stand_in(self) -> StandIn | None:
        """The connections that a test uses instead of the application's; see `stem_amqp.testing`."""
        return self._stand_in

    def reconfigure(
        self, *, topology: Topology | Path | str | None = None, **settings: Any
    ) -> None:
        """Change settings while the application is not connected: ``stem.reconfigure(namespace="b")``.

        Names on the broker, the queue of rejected messages, keys, signals and time limits follow from the
        settings, and change with them. Open `blocking` producers connect again on their next call.

        Args:
            topology: another topology, or the path of its YAML file; None: the same one.
            **settings: fields of `Settings`; the others keep their values.

        Raises:
            ConfigurationError: a setting or the topology file cannot be used; nothing is changed.
            StemError: the application is connected, or a test runs it on a broker in memory.
        """
        # the loop is set while it connects, too
        if self._stand_in is not None or self._home.loop is not None:
            raise StemError(
                "this Stem is connected: reconfigure it before `async with stem:`, or after the block"
            )
        self._blueprint = self._blueprint.replace(topology=topology, **settings)

    def swap(self, blueprint: Blueprint, stand_in: StandIn | None = None) -> None:
        """Use another blueprint, and other connections, from now on: for `stem_amqp.testing`.

        Args:
            blueprint: the blueprint.
            stand_in: connections to use instead of the application's; None: the application's own.
        """
        self._blueprint, self._stand_in = blueprint, stand_in

    async def connect(self) -> Connected:
        """Connect to the broker and the backend, and provision the topology as the settings say.

        A second `connect` returns the same connections; they close with as many calls of `close`.

        Raises:
            BrokerError: the broker cannot be reached, refuses access, or has another topology.
            BackendError: the backend cannot be reached.
            ConfigurationError: the keys cannot be used.
            StemError: it is connected in another event loop, which is not closed.
        """
        if self._stand_in is not None:
            return self._stand_in.connected
        async with self._enter():
            self._enter()  # an earlier connect that held the lock may have failed
            if self._connected is None:
                try:
                    self._connected = await connect(self._blueprint)
                except BaseException:
                    self._home.leave()
                    raise
            self._users += 1
            return self._connected

    def _enter(self) -> asyncio.Lock:
        """Claim this event loop, and forget connections of an event loop that is closed."""
        return self._home.enter(self._forget)

    def _forget(self, forked: bool) -> None:
        lost, self._connected, self._users = self._connected, None, 0
        if lost is not None and not forked:
            lost.transport.abandon()

    async def close(self) -> None:
        """Close the connections; does nothing if the application is not connected.

        Raises:
            StemError: it is connected in another event loop.
        """
        if self._stand_in is not None or self._connected is None:
            return
        async with self._enter():
            self._users = max(0, self._users - 1)
            if self._users:
                return
            connected, self._connected = self._connected, None
            try:
                if connected is not None:
                    await connected.close()
            finally:
                self._home.leave()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        """Connect for synchronous code, with an event loop in a thread of its own; see `run`."""
        if self._portal is not None:
            raise StemError("`with stem:` is open already; open it once, and use `stem.run`")
        loop = self._home.loop
        # if the application is connected in a loop of another thread, work in that loop
        self._portal = Portal(loop if loop is not None and loop.is_running() else None)
        try:
            run_in(self._portal.loop, self.connect())
        except BaseException:
            self._close_portal()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._portal is not None:
            try:
                run_in(self._portal.loop, self.close())
            finally:
                self._close_portal()

    def _close_portal(self) -> None:
        if self._portal is not None:
            self._portal.close()
            self._portal = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from synchronous code, and wait for it.

        Inside ``with stem:``, or in a synchronous task: ``stem.run(sync_order.enqueue("42"))``.

        Args:
            coroutine: such as ``task.enqueue(…)`` or ``handle.result()``.

        Raises:
            StemError: the application is not connected, or its event loop runs in this thread.
        """
        loop = self._home.loop if self._stand_in is None else self._stand_in.loop()
        if loop is None or (self._connected is None and self._stand_in is None):
            coroutine.close()
            raise StemError("not connected: use `with stem:` first")
        return run_in(loop, coroutine)

    def blocking(self, *, timeout: Duration | None = None) -> BlockingProducer:
        """Make a producer for code without an event loop: Django, Flask, scripts, the REPL.

        ``with stem.blocking() as producer:`` opens and closes it; without ``with`` it opens on its
        first call, and closes at the interpreter's exit.

        Args:
            timeout: seconds or a duration such as ``"5s"`` that a call may take, connecting
                included; None: the settings' connect timeout and publish timeout together.

        Raises:
            ConfigurationError: the timeout cannot be used.
        """
        return BlockingProducer(self, timeout=timeout)

    @property
    def blocking_producer(self) -> BlockingProducer:
        """The producer that every ``task.enqueue_blocking(…)`` of this process shares."""
        return self._blocking

    def in_memory(self) -> tuple[asyncio.AbstractEventLoop, Connected] | None:
        """Return event loop and connections if the in-memory broker is in use, else None.

        That broker works in one event loop at a time, so a blocking producer uses the same one.
        """
        if self._stand_in is not None:
            return self._stand_in.loop(), self._stand_in.connected
        loop = self._home.loop
        if self._connected is None or loop is None or not loop.is_running():
            return None
        in_memory = isinstance(self._connected.transport, MemoryTransport)
        return (loop, self._connected) if in_memory else None

    @property
    def connected(self) -> Connected:
        """The open connections.

        Raises:
            StemError: the application is not connected, or is connected in another event loop.
        """
        if self._stand_in is not None:
            return self._stand_in.connected
        self._home.check()
        if self._connected is None:
            raise StemError("not connected: use `async with stem:` or `await stem.connect()` first")
        return self._connected
