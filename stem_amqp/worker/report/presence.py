"""What a worker reports to other processes about itself: heartbeats, and a blocked event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from stem_amqp.cancellation import end
from stem_amqp.errors import StemError
from stem_amqp.observability.events import EventsExporter
from stem_amqp.observability.keys import event_key
from stem_amqp.observability.loop_lag import LoopLag
from stem_amqp.observability.registry.heartbeat import (
    KEY,
    RUNS,
    TEXT,
    BlockedLoop,
    Heartbeat,
    RunningTask,
)
from stem_amqp.observability.registry.process import ProcessorTime, resident_bytes
from stem_amqp.observability.registry.watchdog import CHECK, Blocked, Watchdog
from stem_amqp.topology.names import Names
from stem_amqp.transport.amqp.connection import own_version
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.gauges import Gauges

IDENTITY_INTERVAL = 60.0
"""Seconds between two reads of the identity of the result backend's store."""
_EVENTS = {
    "running": "worker-started",
    "stopping": "worker-stopping",
    "stopped": "worker-stopped",
}
"""The event of each state."""


class Presence:
    """Sends heartbeats, and watches the event loop.

    Args:
        gauges: the worker's current values.
        transport: sends the heartbeats.
        names: the names on the broker.
        interval: seconds between two heartbeats; 0: none, and the loop is not watched.
        on_heartbeat: called with each heartbeat that is due, for the worker's signal.
        open_transport: makes another transport to the same broker, for the heartbeats of a blocked loop;
            None: there is none.
        events: publishes lifecycle events; None: there are none.
        identity: reads the identity of the result backend's store; None: it has none.
    """

    def __init__(
        self,
        gauges: Gauges,
        transport: Transport,
        names: Names,
        *,
        interval: float,
        on_heartbeat: Callable[[], Any],
        open_transport: Callable[[], Transport] | None = None,
        events: EventsExporter | None = None,
        identity: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._gauges = gauges
        self._transport = transport
        self._names = names
        self._interval = interval
        self._on_heartbeat = on_heartbeat
        self._open_transport = open_transport
        self._events = events
        self._identity = identity
        self._store = ""
        self._started = transport.clock.time()
        self._state = "running"
        self._epoch = 0.0  # the loop's time 0, in seconds since the epoch
        self._lag: LoopLag | None = None
        self._processor = ProcessorTime()
        self._host, self._pid, self._version = socket.gethostname(), os.getpid(), own_version()

    def heartbeat(self, blocked: BlockedLoop | None = None) -> Heartbeat:
        """Return the worker's state.

        Args:
            blocked: the event loop, if it is blocked; then this is called in another thread.
        """
        if blocked is None:  # the time of a blocked loop may stand still
            self._epoch = self._transport.clock.time() - asyncio.get_running_loop().time()
        statistics = self._gauges.statistics()
        runs = sorted(_running(self._gauges.unsettled), key=lambda job: job.begun)
        lag = self._lag
        return Heartbeat(
            name=statistics.name,
            queues=dict(statistics.queues),
            consuming=statistics.consuming,
            paused=statistics.paused,
            running=statistics.running,
            done=statistics.done,
            threads_used_up=statistics.threads_used_up,
            worker_failures=statistics.worker_failures,
            host=self._host,
            pid=self._pid,
            version=self._version,
            at=self._transport.clock.time(),
            started=self._started,
            interval=self._interval,
            state=self._state,
            capacity=dict(self._gauges.capacity),
            runs=tuple(_view(job, self._epoch) for job in runs[:RUNS]),
            runs_omitted=max(0, len(runs) - RUNS),
            lag=0.0 if lag is None else round(lag.seconds, 4),
            lag_peak=0.0 if lag is None else round(lag.peak, 4),
            memory=resident_bytes(),
            cpu=round(self._processor.share(), 4),
            threads=threading.active_count(),
            blocked=blocked,
            store=self._store,
        )

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        if not self._interval:
            return
        lag = self._lag = LoopLag.here()
        lag.start()
        report = None if self._open_transport is None else self._report_blocked
        watchdog = Watchdog(lag, self._gauges.run_in, report)
        watchdog.start()
        reading = asyncio.create_task(self._read_identity(), name="worker store identity")
        try:
            while True:
                self.send()
                await asyncio.sleep(self._interval)
                await self._on_heartbeat()
        finally:
            await end(reading)
            watchdog.stop()
            lag.stop()

    async def _read_identity(self) -> None:
        """Read the identity of the store again and again: one that has lost its data gets another."""
        while self._identity is not None:
            self._store = await self._identity() or self._store
            await asyncio.sleep(IDENTITY_INTERVAL)

    def changed(self, state: str, reason: str = "") -> None:
        """Note that the worker runs, stops or has stopped, and send a heartbeat and an event.

        Args:
            state: ``running``, ``stopping`` or ``stopped``.
            reason: why it stops.
        """
        self._state = state
        if self._interval:
            self.send()
        if self._events is not None:
            fields = {"reason": reason} if reason else {}
            self._events.worker(_EVENTS[state], self._gauges.name, **fields)

    def listened(self, seconds: float) -> None:
        """Publish lifecycle events for a time, because a listener has announced itself.

        Args:
            seconds: how long.
        """
        if self._events is not None:
            self._events.listen(seconds)

    def send(self) -> None:
        """Send a heartbeat."""
        self._transport.send(self._publication(self.heartbeat()))

    def _publication(self, heartbeat: Heartbeat) -> Publication:
        return Publication(
            exchange=self._names.events,
            routing_key=event_key(KEY, heartbeat.name),
            body=heartbeat.encode(),
            type=KEY,
            app_id=self._names.namespace,
        )

    async def _report_blocked(self, blocked: Blocked) -> None:
        """Send heartbeats through another connection while the worker's event loop is blocked."""
        if self._open_transport is None:
            return
        transport = self._open_transport()
        loop = asyncio.get_running_loop()
        try:
            await transport.connect()
            due = loop.time()
            while (found := blocked()) is not None:
                if loop.time() >= due:
                    due = loop.time() + self._interval
                    transport.send(self._publication(self.heartbeat(found)))
                await asyncio.sleep(CHECK)
        finally:
            await transport.close()


def _running(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if job.started and job.outcome is None and job.message is not None]


def _view(job: Job, epoch: float) -> RunningTask:
    message, progress = job.message, job.progress
    if message is None:
        raise StemError("a job that runs has a message")
    text = None if progress is None else progress.message
    return RunningTask(
        id=message.id,
        task=message.task,
        queue=job.queue,
        since=round(epoch + job.begun, 3),
        attempt=job.attempt,
        fraction=None if progress is None else progress.fraction,
        message=None if text is None else text[:TEXT],
    )
