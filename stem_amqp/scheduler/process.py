"""A scheduler: waits until it leads, and then publishes until it leads no more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.cancellation import end
from stem_amqp.connected import Connected
from stem_amqp.durations import format_seconds
from stem_amqp.errors import StemError
from stem_amqp.results.base import ResultBackend
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.scheduler.in_broker import BrokerSchedules
from stem_amqp.scheduler.leadership import Leadership
from stem_amqp.scheduler.reports import LookReports
from stem_amqp.scheduler.term import Term
from stem_amqp.scheduler.watching import Watched
from stem_amqp.settings import Settings
from stem_amqp.text import count

log = logging.getLogger("stem_amqp.scheduler")

PERIOD = 1.0
"""Seconds between two looks; ticks are published long before they are due."""
AFTER_ERROR = 2.0
"""Seconds until the next look after one that failed."""
LAST_LOOK = 5.0
"""Seconds that a look may go on after `Scheduler.stop`, until it is cancelled."""
LEAP = 2.0
"""Seconds by which the clock may differ from the elapsed time before the log says that it jumped."""


def shared_store(blueprint: Blueprint, connected: Connected) -> ScheduleStore | None:
    """Return the store of schedules in the result backend; None if there is none that all processes share.

    Args:
        blueprint: the application.
        connected: its connections.
    """
    return store_of(blueprint.settings, connected.backend)


def store_of(settings: Settings, backend: ResultBackend) -> ScheduleStore | None:
    """Return the store of schedules in a result backend; None if there is none that all processes share.

    Args:
        settings: the settings.
        backend: the result backend.
    """
    own = settings.backend_url.get_secret_value().startswith("memory:")
    # results in the memory of this process are not those of the others
    return None if own and not settings.in_memory else backend.schedules()


class Scheduler:
    """Takes part in the election of the leader, and publishes ticks while it leads.

    Args:
        blueprint: the application.
        connected: its connections.
        period: seconds between two looks.

    Raises:
        ConfigurationError: a schedule cannot be used.
    """

    def __init__(
        self, blueprint: Blueprint, connected: Connected, *, period: float = PERIOD
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._blueprint = blueprint
        self._connected = connected
        self._period = period
        self._watched = Watched(blueprint)
        tag = f"scheduler {self.name}"
        self._leadership = Leadership(connected.transport, blueprint.names, tag)
        self._reports = LookReports(blueprint.telemetry, self.name)
        self._stopping = asyncio.Event()
        self._looking = asyncio.Lock()
        self._failed = ""
        self._clock = connected.transport.clock
        self._offset: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether it leads now."""
        return self._leadership.leads

    def stop(self) -> None:
        """Stop; another scheduler leads at once."""
        self._stopping.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Scheduler]:
        """Run in the background for a block; for tests and for embedding."""
        self._task = asyncio.create_task(self.run(), name="stem-amqp scheduler")
        try:
            yield self
        finally:
            self.stop()
            await self._task

    async def ended(self, stopping: asyncio.Event) -> None:
        """Wait until an event is set, or the scheduler has failed; inside of `running`.

        Args:
            stopping: the event.

        Raises:
            StemError: it could not start.
        """
        waiting = asyncio.create_task(stopping.wait(), name="stem-amqp scheduler signal")
        try:
            running = {waiting} if self._task is None else {waiting, self._task}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(waiting)

    async def run(self) -> None:
        """Take part until `stop` is called.

        Raises:
            BrokerError: the queue of schedulers cannot be consumed at the start. The scheduler recovers from later
                faults.
        """
        async with self._leadership.running():
            log.info(
                "scheduler %s is ready: %s in code and file",
                self.name,
                count(len(self._watched.schedules), "schedule"),
            )
            self._reports.waits(len(self._watched.schedules))
            terms = asyncio.create_task(self._terms(), name="stem-amqp scheduler terms")
            stopping = asyncio.create_task(self._stopping.wait(), name="stem-amqp scheduler stop")
            await asyncio.wait({terms, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await end(stopping)
            if terms.done():
                terms.result()
            await self._finish_look()
            await end(terms)
        self._reports.waits(0)
        log.info("scheduler %s has stopped", self.name)

    async def _finish_look(self) -> None:
        """Wait until no look goes on, and let none begin.

        A tick that is published and not stored would run twice if the next scheduler has other arguments for it, or if
        no backend stores which tasks have run.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LOOK):
                await self._looking.acquire()

    async def _terms(self) -> None:
        while True:
            await self._leadership.wait()
            log.info("scheduler %s leads", self.name)
            term = Term(self._blueprint, self._connected, self._store(), self._watched.schedules)
            self._reports.leads(term.followed, len(self._watched.schedules))
            if await self._attempt(term.begin()):
                await self._lead(term)
            else:
                self._report(term, done=False)
                await asyncio.sleep(AFTER_ERROR)
            if self._leadership.leads:
                continue
            log.warning("scheduler %s leads no more", self.name)
            self._reports.waits(len(self._watched.schedules))
            await self._leadership.lost()

    def _report(self, term: Term, *, done: bool) -> None:
        at, number = self._clock.time() if done else None, len(self._watched.schedules)
        self._reports.leads(term.followed, number, at=at, failed=not done)

    def _store(self) -> ScheduleStore:
        shared = shared_store(self._blueprint, self._connected)
        return BrokerSchedules(self._leadership) if shared is None else shared

    async def _lead(self, term: Term) -> None:
        while self._leadership.leads:
            self._look_at_the_clock()
            poked = self._leadership.poked.is_set()
            self._leadership.poked.clear()
            changed = await self._watched.changed()
            async with self._looking:
                if changed is not None and not await self._attempt(term.replace(changed)):
                    self._watched.again()
                done = await self._attempt(term.look(poked=poked))
            self._report(term, done=done)
            if not done and poked:
                self._leadership.poked.set()
            if done and term.behind:
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period if done else AFTER_ERROR):
                    await (self._leadership.poked.wait() if done else asyncio.Event().wait())

    async def _attempt(self, step: Coroutine[Any, Any, None]) -> bool:
        """Return whether a step succeeded; the log says once why it does not."""
        try:
            await step
        except StemError as error:
            text = str(error).partition("\n")[0]
            if text != self._failed:
                log.warning("schedules are not up to date: %s", text)
            self._failed = text
            return False
        except Exception:
            log.exception("schedules are not up to date")
            self._failed = "an unexpected error"
            return False
        if self._failed:
            log.info("schedules are up to date again")
        self._failed = ""
        return True

    def _look_at_the_clock(self) -> None:
        offset = self._clock.time() - time.monotonic()
        before, self._offset = self._offset, offset
        if before is None or abs(offset - before) < LEAP:
            return
        jump = offset - before
        log.warning(
            "the clock of this machine jumped %s by %s: ticks that it skipped are missed ones, and none runs twice",
            "forwards" if jump > 0 else "backwards",
            format_seconds(round(abs(jump), 1)),
        )
