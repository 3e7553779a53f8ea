"""A worker in a test: it notes what becomes of its tasks, and it can freeze, or die."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stem_amqp.durations import Duration, seconds
from stem_amqp.results.batch import ResultWriter
from stem_amqp.task import Task
from stem_amqp.testing.kit.expectation import name_of
from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.gated import GatedTransport
from stem_amqp.testing.kit.outcome import Record, RecordingAnnouncer
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.watched import WatchedRegistry
from stem_amqp.transport.memory.clock import ManualTimer, microseconds
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.job import Job
from stem_amqp.worker.runner import Worker, WorkerParts

MISSED_HEARTBEATS = 2
"""After so many a broker closes a connection."""
_POLL = 0.002


class MemoryWorker:
    """A worker that a test has started, with a connection of its own.

    Args:
        home: where the broker is.
        record: notes what becomes of its tasks.
        queues: the logical queues; None: all.
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
        concurrency: int | None,
        prefetch: int | None,
        name: str | None,
    ) -> None:
        self._home = home
        self._gate = Gate(self._expect_heartbeats)
        self._transport = GatedTransport(home, self._gate)
        self._lapse: ManualTimer | None = None
        parts = home.app.worker_parts()
        self._worker = _Worker(
            dataclasses.replace(
                parts,
                transport=self._transport,
                writer=ResultWriter(parts.backend),
                registry=WatchedRegistry(parts.registry, record, self._gate),
            ),
            record,
            queues or home.app.queues,
            concurrency=concurrency,
            prefetch=prefetch,
            name=name,
        )

    @property
    def name(self) -> str:
        """Its name, as in logs and records."""
        return self._worker.name

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._gate.shut

    @property
    def unsettled(self) -> int:
        """Deliveries that it has and has not settled."""
        return len(self._worker.jobs)

    @property
    def tasks(self) -> list[str]:
        """What it has not settled, a task each: its name and id."""
        return [str(job) for job in self._worker.jobs]

    @property
    def running(self) -> int:
        """Tasks that it is in the middle of."""
        return self._worker.statistics().running

    def freeze(self) -> None:
        """Let it stand still, like a process that is stopped or a machine that hangs.

        Its tasks stay where they wait; a plain function in a thread runs to its end first. It holds
        what was delivered to it and goes on taking deliveries, up to its prefetch, and nothing of
        that is run, settled or renewed. After two missed heartbeats (``STEM_AMQP_HEARTBEAT``) of
        the clock the broker closes its connection, and its deliveries go to others.
        """
        self._gate.freeze()

    def freeze_after_run(self, task: Task[..., Any] | str | None = None) -> None:
        """Let it stand still at the end of the next run.

        It is the worst moment: the task has had its effects, and neither its result is stored nor
        its message settled.

        Args:
            task: the next run of this task; default: of any.
        """
        name = None if task is None else name_of(task)
        self._gate.shuts_after_run = lambda ended: name in {None, ended}

    def thaw(self) -> None:
        """Let it go on. It does not know yet what it has missed."""
        if self._lapse is not None:
            self._lapse.cancel()
        self._gate.thaw()

    def lose_connection(self, reason: str = "connection lost in a test") -> None:
        """Lose its connection: its deliveries go back. If it is not frozen, it connects again."""
        self._transport.lose(reason)

    def kill(self) -> None:
        """Let it be gone from one moment to the next, with what it was in the middle of."""
        self.freeze()
        self.lose_connection("worker killed in a test")

    def abandon(self) -> None:
        """Let it stop at once: the tasks that it is in the middle of are cancelled, and go back."""
        self._worker.abandon()
        self.thaw()

    async def until_running(self, count: int = 1, *, timeout: Duration = "5s") -> None:
        """Wait until it is in the middle of so many tasks.

        Args:
            count: how many.
            timeout: real time to wait at most.

        Raises:
            TimeoutError: it is not.
        """
        deadline = time.monotonic() + seconds(timeout)
        while self.running < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"worker {self.name} runs {self.running} tasks, not {count}")
            await asyncio.sleep(_POLL)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[MemoryWorker]:
        """Work for the length of a block. What is under way at its end is finished, within reason.

        A worker that is frozen at the end is gone with what it holds: none of its tasks goes on.
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
    """The worker proper."""

    def __init__(self, parts: WorkerParts, record: Record, *arguments: Any, **options: Any) -> None:
        self._record = record
        super().__init__(parts, *arguments, **options)

    def _make_announcer(self) -> Announcer:
        parts = self._parts
        return RecordingAnnouncer(self._record, parts.signals, parts.transport.clock, self.name)

    @property
    def jobs(self) -> list[Job]:
        """The deliveries that are not settled yet."""
        return [job for consumer in self._consumers for job in consumer.jobs]

    def abandon(self) -> None:
        """Stop, and let every task end where it stands."""
        for _ in range(2):  # the second time it hurries
            self.stop("abandoned")
        for consumer in self._consumers:
            consumer.give_back()
