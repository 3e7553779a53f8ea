"""A worker in a test: it records the outcomes of its tasks, and can be frozen or killed."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stem_amqp.durations import Duration, seconds
from stem_amqp.results.writer import ResultWriter
from stem_amqp.task import Task
from stem_amqp.testing.kit.expectation import name_of
from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.gated import GatedTransport
from stem_amqp.testing.kit.outcome import Record, RecordingAnnouncer
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.unused import Unused
from stem_amqp.testing.kit.watched import WatchedRegistry
from stem_amqp.transport.memory.clock import ManualTimer, microseconds
from stem_amqp.worker.batching.collector import Collector
from stem_amqp.worker.job import Job
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.runner import Worker

MISSED_HEARTBEATS = 2
"""Missed heartbeats after which a broker closes a connection."""
_POLL = 0.002


class MemoryWorker:
    """A worker that a test has started, with its own connection.

    Args:
        home: the stand-in with the broker.
        record: records the outcomes of its tasks.
        queues: the logical queues; None means all.
        unused: records calls that must be awaited.
        concurrency: tasks at once per queue.
        prefetch: unsettled deliveries per queue.
        name: its name.
    """

    def __init__(
        self,
        home: InMemory,
        record: Record,
        queues: Sequence[str] | None,
        *,
        unused: Unused,
        concurrency: int | None,
        prefetch: int | None,
        name: str | None,
    ) -> None:
        self._home = home
        self._unused = unused
        self._gate = Gate(self._expect_heartbeats)
        self._transport = GatedTransport(home, self._gate)
        self._lapse: ManualTimer | None = None
        parts = home.app.worker_parts()
        self._worker = _Worker(
            dataclasses.replace(
                parts,
                blueprint=dataclasses.replace(
                    parts.blueprint,
                    registry=WatchedRegistry(parts.blueprint.registry, record, self._gate),
                ),
                connected=dataclasses.replace(
                    parts.connected,
                    transport=self._transport,
                    writer=ResultWriter(parts.connected.backend),
                ),
            ),
            record,
            queues or home.app.queues,
            concurrency=concurrency,
            prefetch=prefetch,
            name=name,
        )

    @property
    def name(self) -> str:
        """Its name in logs and records."""
        return self._worker.name

    @property
    def frozen(self) -> bool:
        """Whether it is frozen."""
        return self._gate.shut

    @property
    def unsettled(self) -> int:
        """The number of its unsettled deliveries."""
        return len(self._worker.jobs)

    @property
    def collected(self) -> int:
        """The number of messages that wait for their batch to be complete."""
        return self._worker.collector.collected

    def flush_batches(self) -> None:
        """Run the batches that are not full."""
        self._worker.collector.flush()

    @property
    def tasks(self) -> list[str]:
        """Its unsettled deliveries: name and id of each task."""
        return [str(job) for job in self._worker.jobs]

    @property
    def running(self) -> int:
        """The number of tasks that it is running."""
        return self._worker.statistics().running

    def freeze(self) -> None:
        """Freeze it, like a stopped process or a machine that hangs.

        Its tasks are suspended at their next await; a plain function in a thread runs to its end
        first. It keeps its deliveries and receives more, up to its prefetch, and none of them is run,
        settled or renewed. After two missed heartbeats (``STEM_AMQP_HEARTBEAT``) of
        the clock the broker closes its connection, and its deliveries go to others.
        """
        self._gate.freeze()

    def freeze_after_run(self, task: Task[..., Any] | str | None = None) -> None:
        """Freeze it at the end of the next run.

        That is the worst time: the task has had its effects, but its result is not stored, and its
        message is not settled.

        Args:
            task: the task whose next run it is; default: any task.
        """
        name = None if task is None else name_of(task)
        self._gate.shuts_after_run = lambda ended: name in {None, ended}

    def thaw(self) -> None:
        """Resume it. It does not know yet what it has missed."""
        if self._lapse is not None:
            self._lapse.cancel()
        self._gate.thaw()

    def lose_connection(self, reason: str = "connection lost in a test") -> None:
        """Drop its connection: its deliveries are requeued. If it is not frozen, it reconnects."""
        self._transport.lose(reason)

    def kill(self) -> None:
        """Kill it at once, with the tasks that it is running."""
        self.freeze()
        self.lose_connection("worker killed in a test")

    def abandon(self) -> None:
        """Stop it at once: its running tasks are cancelled and requeued."""
        self._worker.abandon()
        self.thaw()

    def until_running(
        self, count: int = 1, *, timeout: Duration = "5s"
    ) -> Coroutine[Any, Any, None]:
        """Wait until it is running a number of tasks.

        Args:
            count: the number of tasks.
            timeout: real time to wait at most.

        Raises:
            TimeoutError: it runs another number.
        """
        return self._unused.coroutine(
            self._until_running(count, timeout), "await worker.until_running()"
        )

    async def _until_running(self, count: int, timeout: Duration) -> None:
        deadline = time.monotonic() + seconds(timeout)
        while self.running < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"worker {self.name} runs {self.running} tasks, not {count}")
            await asyncio.sleep(_POLL)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[MemoryWorker]:
        """Run for the length of a block. Tasks that are running at its end are finished.

        A worker that is frozen at the end is killed: none of its tasks continues.
        """
        self._home.declare()
        self._home.move_here()
        await self._transport.connect()
        try:
            async with self._worker.running():
                try:
                    yield self
                finally:
                    if self.frozen:
                        self.abandon()
        finally:
            await self._transport.close()

    def _expect_heartbeats(self) -> None:
        patience = MISSED_HEARTBEATS * self._home.app.settings.amqp_heartbeat
        at = microseconds(self._home.clock.time() + patience)
        self._lapse = self._home.clock.call_at(at, self._missed_heartbeats)

    def _missed_heartbeats(self) -> None:
        if self.frozen:
            self._transport.lose("missed heartbeats from the worker")


class _Worker(Worker):
    """The real worker."""

    def __init__(self, parts: WorkerParts, record: Record, *arguments: Any, **options: Any) -> None:
        self._record = record
        super().__init__(parts, *arguments, **options)
        # A wrong name fails its test at once: no other release is rolled out in it
        self._executor.unknown.refuse_at_once()

    def _make_announcer(self) -> Announcer:
        parts = self._parts
        return RecordingAnnouncer(
            self._record,
            parts.blueprint.signals,
            parts.blueprint.telemetry,
            parts.connected.transport.clock,
            self.name,
        )

    @property
    def collector(self) -> Collector:
        """Collects the messages of batch tasks."""
        return self._executor.collector

    @property
    def jobs(self) -> list[Job]:
        """The unsettled deliveries."""
        return [job for consumer in self._consumers for job in consumer.jobs]

    def abandon(self) -> None:
        """Stop, and cancel every task where it is."""
        for _ in range(2):  # the second request stops it at once
            self.stop("abandoned")
        for consumer in self._consumers:
            consumer.requeue_all()
