"""Observes runs and the worker: states, progress, duplicates, connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.messages.message import TaskMessage
from stem_amqp.results.base import Progress, ProgressUpdate
from stem_amqp.signals import Event, Signal
from stem_amqp.states import TaskState
from stem_amqp.transport.base import ConnectionChange
from stem_amqp.worker.follow_up.transition import transition_of
from stem_amqp.worker.gates.claims import Claims
from stem_amqp.worker.gates.earlier import processed_state
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.report.statistics import WorkerStatistics


class Observer:
    """Stores and announces what happens to runs, and sends the worker's own signals.

    Args:
        blueprint: the application.
        connected: its open connections.
        announcer: sends the signals of tasks.
        revocation: returns why a message in a logical queue is revoked, or None if it is not.
        worker: the worker's name.

    Attributes:
        revoked: the function `revocation`.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        *,
        announcer: Announcer,
        revocation: Callable[[TaskMessage, str], str | None],
        worker: str,
    ) -> None:
        settings, backend = blueprint.settings, connected.backend
        self._signals = blueprint.signals
        self._telemetry = blueprint.telemetry
        self._announcer = announcer
        self._backend = backend
        self._writer = connected.writer
        self.revoked = revocation
        self._clock = connected.transport.clock
        self._worker = worker
        self._tracks_started = settings.track_started and backend.keeps_states
        self._result_ttl = settings.result_ttl
        self._claims = Claims(backend, blueprint.names.namespace)
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: list[tuple[Job, float]] = []

    async def started(self, job: Job) -> None:
        """Store and announce that a run starts.

        The state ``running`` of a first run is stored in the loop's next iteration, and not at all
        if the run has ended by then: no client could have seen it. For a later run it is stored at
        once, since it removes the progress of the run before.
        """
        if self._tracks_started and not job.ignore_result:
            if not self._starting:
                asyncio.get_running_loop().call_soon(self._store_started)
            self._starting.append((job, self._clock.time()))
            if job.attempt or job.replay:
                self._store_started()
        for report in self._telemetry.started:
            report(job)
        if self._signals.task_started.active:
            await self._announcer.started(job)

    def _store_started(self) -> None:
        starting, self._starting = self._starting, []
        for job, at in starting:
            if job.outcome is None:
                self._writer.post(
                    transition_of(job, TaskState.RUNNING, at, self._worker, self._result_ttl)
                )

    def progressed(self, job: Job, progress: Progress) -> None:
        """Store progress, and send its signal."""
        if job.message is None or job.outcome is not None:
            return
        job.progress = progress
        if not job.ignore_result:
            self._store_started()
            self._writer.post(
                ProgressUpdate(
                    task_id=job.message.id,
                    progress=replace(progress, at=self._clock.time()),
                    ttl=job.option("result_ttl") or self._result_ttl,
                    reply_to=job.reply_to,
                )
            )
        for report in self._telemetry.progressed:
            report(job, progress)
        if self._signals.task_progress.active:
            self._spawn(self._announcer.progressed(job, progress))

    async def processed_state(self, job: Job) -> TaskState | None:
        """Return the state that another delivery of the message led to; None if this one runs."""
        if job.ignore_result or not self._backend.keeps_states:
            return None
        state = await processed_state(self._backend, job)
        if state is None and not await self._claims.takes(job):
            return TaskState.RUNNING
        return state

    async def ended(self, job: Job, *, settled: bool) -> None:
        """Release the claim of a job."""
        if job.claim is not None:
            await self._claims.release(job, settled=settled)

    def connection_changed(self, change: ConnectionChange) -> None:
        """Send the signal that a connection was lost or restored."""
        for report in self._telemetry.connection_changed:
            report(change)
        if change.restored:
            signal = self._signals.worker_connection_restored
            self.send_soon(signal, role=change.role, downtime=change.downtime)
        else:
            signal = self._signals.worker_connection_lost
            self.send_soon(signal, role=change.role, error=change.error)

    async def send(self, signal: Signal, **fields: Any) -> None:
        """Send one of the worker's own signals."""
        if signal.active:
            await signal.send(
                Event(signal=signal.name, at=self._clock.time(), worker=self._worker, fields=fields)
            )

    async def heartbeat(self, statistics: WorkerStatistics) -> None:
        """Send the signal that the worker is alive."""
        await self.send(
            self._signals.worker_heartbeat,
            running=statistics.running,
            done=statistics.done,
            threads_used_up=statistics.threads_used_up,
            worker_failures=statistics.worker_failures,
        )

    def send_soon(self, signal: Signal, **fields: Any) -> None:
        """Send one of the worker's own signals in the background, from synchronous code."""
        if signal.active:
            self._spawn(self.send(signal, **fields))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until all signals are sent."""
        while self._tasks:
            await asyncio.wait(self._tasks)
