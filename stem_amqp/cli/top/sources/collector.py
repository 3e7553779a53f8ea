"""Collects the data of frames from all sources, through outages of the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from stem_amqp.app import Stem
from stem_amqp.cancellation import end
from stem_amqp.cli.top.snapshot import FailureRow, Snapshot
from stem_amqp.cli.top.sources.failures import FailureSource
from stem_amqp.cli.top.sources.pauses import PauseSource
from stem_amqp.cli.top.sources.queues import QueueTrends, dead_rows, missing_queues
from stem_amqp.cli.top.sources.workers import WorkerSource
from stem_amqp.errors import BrokerError
from stem_amqp.management import Management
from stem_amqp.observability.queues import DeadReader, Measurement, Measurer, make_plan
from stem_amqp.signing.source import seal_from
from stem_amqp.transport.base import Transport

TIMEOUT = 5.0
"""The most seconds of one measurement."""
READ_DEAD = 10.0
"""Seconds between two reads of a dead-letter queue whose number of letters changes."""
ANSWERS = 1.0
"""Seconds to wait for the answers of workers before a single frame."""


class Collector:
    """Makes snapshots; made by `collecting`.

    Args:
        app: the application; it need not be connected.
        transport: connected to its broker.
        management: the management API; None does not ask it.
        queues: the logical queues.
    """

    def __init__(
        self,
        app: Stem,
        transport: Transport,
        management: Management | None,
        queues: Iterable[str],
    ) -> None:
        logical = tuple(queues)
        plan = make_plan(app.names, app.topology, logical)
        self._pauses = PauseSource(app, transport, logical)
        seal = seal_from(app.settings, app.keys)
        self._failures = FailureSource(plan, seal)
        self._workers = WorkerSource(transport, app.names, seal)
        self._trends = QueueTrends()
        self._transport, self._names = transport, app.names
        self._reader = DeadReader(transport, interval=READ_DEAD, on_letter=self._failures.take)
        self._measurer = Measurer(plan, transport, management, dead=self._reader)
        self._tasks: set[asyncio.Task[None]] = set()
        self.snapshot = Snapshot(at=time.time(), namespace=app.names.namespace)

    async def run(self, interval: float, on_change: Callable[[], None]) -> None:
        """Make a snapshot again and again, until cancelled.

        Args:
            interval: seconds between two.
            on_change: called after each.
        """
        while True:
            await self.refresh()
            on_change()
            await asyncio.sleep(interval)

    async def refresh(self, *, patient: bool = False) -> None:
        """Make a snapshot; while the broker does not answer, the numbers stay as they are.

        Args:
            patient: whether to wait for the answers of workers.
        """
        for task in self._tasks:
            if task.done():
                task.result()  # a bug: it ends only by an error
        try:
            async with asyncio.timeout(TIMEOUT):
                broker = str(await self._transport.connect())
                measurement = await self._measurer.measure()
                await self._pauses.refresh(patient=patient)
        except (BrokerError, TimeoutError) as error:
            self._note_outage(str(error) or f"no answer within {TIMEOUT:g} s")
            return
        if patient:
            await self._workers.until_complete(_consumers(measurement), ANSWERS)
        self.snapshot = self._made(broker, measurement)

    def read_again(self, row: FailureRow) -> None:
        """Read the dead letters of a failure's queue with the next snapshot, for its traceback."""
        self._reader.expire(self._failures.dead_queue(row))

    def _note_outage(self, problem: str) -> None:
        last, now = self.snapshot, time.time()
        since = last.problem_since if last.problem else now
        self.snapshot = replace(last, at=now, problem=problem, problem_since=since)

    def _made(self, broker: str, measurement: Measurement) -> Snapshot:
        at = time.monotonic()
        workers = self._workers.rows()
        runs = [run for worker in workers for run in worker.runs]
        missing = missing_queues(measurement)
        if problem := self._workers.missing(at, _consumers(measurement)):
            missing["workers"] = problem
        pauses = self._pauses.last
        if pauses.problem:
            missing["pauses"] = f"it is not known what is paused: {pauses.problem}"
        if self._failures.problem:
            missing["failures"] = (
                f"failures arrive late, events are not available: {self._failures.problem}"
            )
        return Snapshot(
            at=time.time(),
            namespace=self.snapshot.namespace,
            broker=broker,
            queues=tuple(self._trends.rows(at, measurement, pauses.queues)),
            workers=workers,
            runs=tuple(sorted(runs, key=lambda run: (not run.blocking, -run.seconds))),
            failures=self._failures.rows({one.queue: one.dead for one in measurement.queues}),
            dead=tuple(dead_rows(measurement)),
            delays=measurement.delayed,
            unroutable=measurement.unroutable,
            alarms=tuple(
                f"{what} on {node}" for (node, what), on in measurement.alarms.items() if on
            ),
            pauses=pauses.lines,
            missing=missing,
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Collect heartbeats and events during the block."""
        self._tasks = {
            asyncio.create_task(self._workers.run(), name="stem-amqp top workers"),
            asyncio.create_task(
                self._failures.run(self._transport, self._names), name="stem-amqp top events"
            ),
        }
        try:
            yield
        finally:
            await end(*self._tasks)
            await self._pauses.close()
            await self._measurer.close()


def _consumers(measurement: Measurement) -> dict[str, int]:
    return {one.queue: one.consumers for one in measurement.queues if one.consumers}
