"""A thread with an event loop, and the connections that live in it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from stem_amqp.assembly import Connected, connect
from stem_amqp.blocking.loop import InheritableLoop
from stem_amqp.blocking.process import connecting, sessions
from stem_amqp.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.settings import Settings

T = TypeVar("T")
Work = Callable[[Connected], Coroutine[Any, Any, T]]

log = logging.getLogger("stem_amqp.blocking")

LAST_TASKS = 0.5
"""Seconds that cancelled tasks have to end in."""


class Session:
    """The connections of a blocking producer in one process, opened when they are first needed.

    Args:
        app: the application.
        settings: its settings, with the producer's time limits.
    """

    def __init__(self, app: Stem, settings: Settings) -> None:
        self.pid = os.getpid()
        self._app = app
        self._settings = settings
        self._loop = InheritableLoop()
        self._opening = asyncio.Lock()
        self._connected: Connected | None = None
        self._closing: Future[None] | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"stem-amqp blocking {settings.namespace}", daemon=True
        )
        sessions.add(self)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether it takes no more work."""
        return self._closing is not None or self._loop.is_closed()

    def submit(self, work: Work[T], limit: float) -> Future[T]:
        """Do something with the connections, in their thread.

        Args:
            work: makes the coroutine.
            limit: seconds in which the connections must be open.
        """
        return asyncio.run_coroutine_threadsafe(self._with_connections(work, limit), self._loop)

    def begin_to_close(self) -> None:
        """Start to close the connections; the thread ends after that."""
        if not self.closed:
            self._closing = asyncio.run_coroutine_threadsafe(self._close(), self._loop)

    def join(self, limit: float) -> None:
        """Wait until everything is closed, or the limit in seconds is over."""
        self._thread.join(limit)
        if self._thread.is_alive():
            log.warning("the connections did not close within %g s: they are cut off", limit)

    def abandon(self) -> None:
        """Leave it to the parent, in the child of a fork."""
        self._loop.abandon()

    async def _with_connections(self, work: Work[T], limit: float) -> T:
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                connected = await self._connect()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise BrokerUnavailableError(
                f"no connection to the broker within {limit:g} s; nothing was sent.\n"
                "  Is it running, and does STEM_BROKER_URL name it?"
            ) from error
        return await work(connected)

    async def _connect(self) -> Connected:
        if self._connected is not None:
            return self._connected
        async with self._opening:
            if self._connected is None:
                with connecting:
                    self._connected = await connect(self._app, self._app.clock, self._settings)
            return self._connected

    async def _close(self) -> None:
        try:
            if self._connected is not None:
                await self._connected.close()
        finally:
            self._loop.stop()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=LAST_TASKS))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
            sessions.discard(self)
