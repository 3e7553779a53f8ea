"""A thread with an event loop, and the connections that live in it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from stem_amqp.assembly import connect
from stem_amqp.blocking.loop import InheritableLoop
from stem_amqp.blocking.process import connecting, sessions
from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.errors import BrokerUnavailableError

T = TypeVar("T")
Work = Callable[[Connected], Coroutine[Any, Any, T]]

log = logging.getLogger("stem_amqp.blocking")

PUBLISH_SHARE = 0.9
"""The share of a call's time limit that a publish gets: its own, more precise error comes first."""
LAST_TASKS = 0.5
"""Seconds that cancelled asyncio tasks get to end."""


class Session:
    """The connections of a blocking producer in one process, opened on first use.

    Args:
        blueprint: the application.
        timeout: seconds that a call of the producer may take.
    """

    def __init__(self, blueprint: Blueprint, timeout: float) -> None:
        self.pid = os.getpid()
        self.blueprint = blueprint
        self._limited = _limited(blueprint, timeout)
        self._loop = InheritableLoop()
        self._opening = asyncio.Lock()
        self._connected: Connected | None = None
        self._closing: Future[None] | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"stem-amqp blocking {blueprint.names.namespace}", daemon=True
        )
        sessions.add(self)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the session accepts no more work."""
        return self._closing is not None or self._loop.is_closed()

    def submit(self, work: Work[T], limit: float) -> Future[T]:
        """Run a coroutine with the connections, in their thread.

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
        """Wait until everything is closed, at most a number of seconds."""
        self._thread.join(limit)
        if self._thread.is_alive():
            log.warning("the connections did not close within %g s: they are aborted", limit)

    def abandon(self) -> None:
        """Leave the connections to the parent process, in a forked child."""
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
                    self._connected = await connect(self._limited)
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


def _limited(blueprint: Blueprint, timeout: float) -> Blueprint:
    """Return the blueprint with the time limits of one call."""
    settings = blueprint.settings
    return blueprint.replace(
        connect_timeout=min(settings.connect_timeout, timeout),
        publish_timeout=min(settings.publish_timeout, timeout * PUBLISH_SHARE),
    )
