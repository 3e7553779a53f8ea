"""What a worker notes of runs as they go on: states, progress, revocations."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.results.base import Progress, ProgressUpdate, ResultBackend
from stem_amqp.results.batch import ResultWriter
from stem_amqp.signals import Event, Signal, Signals
from stem_amqp.states import TaskState
from stem_amqp.transport.base import ConnectionChange
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.earlier import carried_out
from stem_amqp.worker.job import Job
from stem_amqp.worker.revocations import Revocations
from stem_amqp.worker.settle import transition_of


class Observer:
    """Hears of runs, and of what happens to the worker.

    Args:
        signals: the application's signals.
        announcer: tells the signals of tasks.
        backend: the result backend.
        writer: its batching writer.
        revocations: which tasks were revoked.
        clock: the time of day.
        worker: the worker's name.
        tracks_started: whether the state ``running`` is stored.
        result_ttl: seconds that results are kept unless the task says otherwise.
    """

    def __init__(
        self,
        *,
        signals: Signals,
        announcer: Announcer,
        backend: ResultBackend,
        writer: ResultWriter,
        revocations: Revocations,
        clock: Clock,
        worker: str,
        tracks_started: bool,
        result_ttl: float,
    ) -> None:
        self._signals = signals
        self._announcer = announcer
        self._backend = backend
        self._writer = writer
        self._revocations = revocations
        self._clock = clock
        self._worker = worker
        self._tracks_started = tracks_started
        self._result_ttl = result_ttl
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: list[tuple[Job, float]] = []

    async def started(self, job: Job) -> None:
        """Note that a run begins.

        The state ``running`` of a first run is stored in the loop's next turn, and not at all if
        the run has ended by then: nobody could have seen it. A later one takes away the progress
        of the run before, however short it is.
        """
        if self._tracks_started and not job.ignore_result:
            if not self._starting:
                asyncio.get_running_loop().call_soon(self._store_started)
            self._starting.append((job, self._clock.time()))
            if job.attempt or job.replay:
                self._store_started()
        await self._announcer.started(job)

    def _store_started(self) -> None:
        starting, self._starting = self._starting, []
        for job, at in starting:
            if job.outcome is None:
                self._writer.post(
                    transition_of(job, TaskState.RUNNING, at, self._worker, self._result_ttl)
                )

    def progressed(self, job: Job, progress: Progress) -> None:
        """Store progress, and tell the signal."""
        if job.message is None or job.outcome is not None:
            return
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
        if self._signals.task_progress.active:
            self._spawn(self._announcer.progressed(job, progress))

    def revoked(self, task_id: str) -> str | None:
        """Return why a task is revoked, or None."""
        return self._revocations.reason(task_id)

    async def carried_out(self, job: Job) -> TaskState | None:
        """Return what an earlier delivery of the message came to, or None if it is still to run."""
        if job.ignore_result or not self._backend.keeps_states:
            return None
        return await carried_out(self._backend, job)

    def connection_changed(self, change: ConnectionChange) -> None:
        """Tell the signals that a connection was lost or restored."""
        if change.restored:
            signal = self._signals.worker_connection_restored
            self.tell_soon(signal, role=change.role, downtime=change.downtime)
        else:
            signal = self._signals.worker_connection_lost
            self.tell_soon(signal, role=change.role, error=change.error)

    async def tell(self, signal: Signal, **fields: Any) -> None:
        """Send one of the worker's own signals."""
        if signal.active:
            await signal.send(
                Event(signal=signal.name, at=self._clock.time(), worker=self._worker, fields=fields)
            )

    def tell_soon(self, signal: Signal, **fields: Any) -> None:
        """Send one of the worker's own signals, from where nothing can be awaited."""
        if signal.active:
            self._spawn(self.tell(signal, **fields))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait until everything is told."""
        while self._tasks:
            await asyncio.wait(self._tasks)
