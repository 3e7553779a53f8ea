"""A transport's link to the in-memory broker: it reconnects and restores its consumers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from stem_amqp.errors import (
    BrokerUnavailableError,
    PublishTimeoutError,
    StemError,
    TopologyMissingError,
)
from stem_amqp.event_loop import LoopBinding
from stem_amqp.transport.base import ConnectionChange, OnConnectionChange, Redeclare
from stem_amqp.transport.memory.broker import MemoryBroker
from stem_amqp.transport.memory.connection import MemoryConnection
from stem_amqp.transport.memory.consumer import MemoryConsumer

_log = logging.getLogger("stem_amqp.transport.memory")
_ROLES = ("consuming", "publishing")
_SHORTEST_WAIT = 0.01
_LONGEST_WAIT = 0.5


class Link:
    """Keeps a transport connected and its consumers consuming.

    Args:
        broker: the broker.
        name: the connection's name, used in logs.
        connect_timeout: seconds to wait for a connection.
        report: called when the connection is lost or restored.
        redeclare: returns the function that restores a deleted queue, or None.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        name: str,
        connect_timeout: float,
        report: OnConnectionChange,
        redeclare: Callable[[], Redeclare | None],
    ) -> None:
        self.broker = broker
        self.name = name
        self.connection: MemoryConnection | None = None
        self._connect_timeout = connect_timeout
        self._report = report
        self._redeclare = redeclare
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = LoopBinding("this connection to the broker")
        self._connected = asyncio.Event()
        self._lost_at = 0.0
        self._consumers: dict[MemoryConsumer, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect; an open connection is kept.

        Raises:
            BrokerUnavailableError: no connection within the connect timeout.
            ConfigurationError: another event loop uses the broker.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # consumers and tasks of a closed loop are dropped
            self._consumers.clear()
            self._tasks.clear()
            self.connection = None
            self._connected = asyncio.Event()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self.broker.wait_up()
            except TimeoutError as error:
                raise self._unavailable(self._connect_timeout) from error
            self._loop = loop
            self._home.leave()  # the broker has checked that no other loop uses it
            self._home.enter()
            self._connect()
        await self.connected()

    async def close(self) -> None:
        """Close everything; a second call does nothing."""
        self._loop = None
        self._home.leave()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for consumer in list(self._consumers):
            await consumer.close()
        connection, self.connection = self.connection, None
        self._connected.clear()
        if connection is not None:
            self.broker.disconnect(connection)

    @property
    def here(self) -> bool:
        """Whether it belongs to the running event loop."""
        return self._loop is asyncio.get_running_loop()

    async def connected(self) -> MemoryConnection:
        """Return the connection; wait for it if necessary.

        Raises:
            BrokerUnavailableError: no connection within the connect timeout.
        """
        self._home.check()
        if self.connection is None:
            self._check_opened()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self._wait_for_connection()
            except TimeoutError as error:
                raise self._unavailable(self._connect_timeout) from error
        return await self._wait_for_connection()

    async def running(self, timeout: float) -> None:
        """Wait until the broker is connected and running.

        Args:
            timeout: seconds.

        Raises:
            BrokerUnavailableError: no connection within the timeout.
            PublishTimeoutError: it is paused for longer than the timeout.
        """
        self._home.check()
        self._check_opened()
        try:
            async with asyncio.timeout(timeout):
                while self.connection is None or not self.broker.is_running:
                    await self._wait_for_connection()
                    await self.broker.wait_running()
        except TimeoutError as error:
            if self.connection is None:
                raise self._unavailable(timeout) from error
            raise PublishTimeoutError(
                f"{self.broker.info} confirmed nothing within {timeout:g} s: it is paused.\n"
                "  Call its resume()."
            ) from error

    async def begin(self, consumer: MemoryConsumer) -> None:
        """Start a consumer, and restore it after every interruption.

        Raises:
            TopologyMissingError: its queue does not exist and could not be restored.
            BrokerRefusedError: its queue is in exclusive use.
            BrokerUnavailableError: there is no connection.
        """
        await self._attach(consumer)
        self._consumers[consumer] = None

    def forget(self, consumer: MemoryConsumer) -> None:
        """Stop restoring a consumer."""
        self._consumers.pop(consumer, None)

    def recover(self, consumer: MemoryConsumer) -> None:
        """Restore a consumer as soon as possible."""
        self._start(self._recover(consumer), f"{consumer.tag}.recover")

    def _connect(self) -> None:
        self.connection = self.broker.connect(self._on_lost)
        self._connected.set()

    def _on_lost(self, reason: str) -> None:
        self.connection = None
        self._connected.clear()
        self._lost_at = time.monotonic()
        _log.warning("%s lost its connection to %s: %s", self.name, self.broker.info, reason)
        self._start(self._reconnect(reason), f"{self.name}.reconnect")
        for consumer in list(self._consumers):
            consumer.lose()
        for role in _ROLES:
            self._report(ConnectionChange(restored=False, role=role, error=reason))

    async def _reconnect(self, reason: str) -> None:
        await self.broker.wait_up()
        self._connect()
        # let the waiting tasks of consumers run first
        await asyncio.sleep(0)
        downtime = time.monotonic() - self._lost_at
        for role in _ROLES:
            change = ConnectionChange(restored=True, role=role, error=reason, downtime=downtime)
            self._report(change)

    async def _recover(self, consumer: MemoryConsumer) -> None:
        wait = _SHORTEST_WAIT
        while not consumer.consuming and not consumer.stopped:
            await self._wait_for_connection()
            try:
                await self._attach(consumer)
            except StemError as error:
                if isinstance(error, TopologyMissingError) and await _left(consumer):
                    _log.info("queue %s no longer exists; its consumer has ended", consumer.queue)
                    self.forget(consumer)
                    return
                _log.warning(
                    "consumer %r cannot consume queue %r yet: %s",
                    consumer.tag,
                    consumer.queue,
                    error,
                )
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    async def _attach(self, consumer: MemoryConsumer) -> None:
        """Attach a consumer, and declare its queue if it is missing."""
        try:
            consumer.attach(await self.connected())
        except TopologyMissingError as missing:
            redeclare = self._redeclare()
            if redeclare is None:
                raise
            try:
                await redeclare()
            except Exception as error:
                raise TopologyMissingError(
                    f"{missing}\n  Declaring it again failed: {error}"
                ) from error
            consumer.attach(await self.connected())

    async def _wait_for_connection(self) -> MemoryConnection:
        while self.connection is None:
            await self._connected.wait()
        return self.connection

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_opened(self) -> None:
        if self._loop is None:
            raise BrokerUnavailableError(
                f"{self.name} is not connected to memory://{self.broker.name}.\n"
                "  Call connect() first."
            )

    def _unavailable(self, waited: float) -> BrokerUnavailableError:
        return BrokerUnavailableError(
            f"{self.name} has no connection to memory://{self.broker.name}, and got none within"
            f" {waited:g} s.\n  End the broker's outage."
        )


async def _left(consumer: MemoryConsumer) -> bool:
    """Return whether a consumer whose queue is deleted may end."""
    return consumer.on_missing is not None and await consumer.on_missing()
