"""The test's handle of an application in memory: inspect it, run due tasks, move the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, TypeVar, cast

from stem_amqp.app import Stem
from stem_amqp.blocking.portal import run_in
from stem_amqp.blocking.waiting import check_may_block
from stem_amqp.dead_letter import DeadLetter
from stem_amqp.durations import Duration, seconds
from stem_amqp.testing.kit.enqueues import AnyTask, Enqueues, records_of
from stem_amqp.testing.kit.idle import until_idle
from stem_amqp.testing.kit.outcome import Record, TaskOutcome
from stem_amqp.testing.kit.scheduled import Scheduled
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.unused import Block, Unused
from stem_amqp.testing.kit.worker import MemoryWorker
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.memory import ManualClock, MemoryBroker

T = TypeVar("T")
PATIENCE = "10s"
"""Real time after which the test fails with the tasks that have not ended."""


def in_memory(app: Stem, clock: ManualClock | None = None) -> AbstractContextManager[StemMemory]:
    """Put an application on a broker and a result backend in memory, for the length of a block.

    Inside the block the application is connected for all code: code under test enqueues as usual.
    Its own open connections, if any, are not touched. The pytest fixture ``stem_memory`` does
    this for a test.

    Args:
        app: the application.
        clock: moved by hand; default: a new one that shows the present time.

    Raises:
        StemError: it is in memory already; or, at the end, a call had no effect because it was not
            entered or awaited.
        ConfigurationError: its topology needs a feature that the broker in memory lacks.
    """
    return Block(lambda: _in_memory(app, clock), "in_memory(…)")


@contextmanager
def _in_memory(app: Stem, clock: ManualClock | None) -> Iterator[StemMemory]:
    home = InMemory(app, clock or ManualClock())
    home.enter()
    memory = StemMemory(home)
    try:
        yield memory
        memory.unused.check()
    finally:
        home.leave()


class StemMemory(Enqueues):
    """An application in memory, for a test.

    Nothing runs automatically: enqueued tasks wait for `run_due`, `advance` or a `worker`.

    Args:
        home: the application's stand-in with the broker.

    Attributes:
        app: the application.
        clock: its clock; `advance` moves it.
        broker: the broker, to inspect it and for faults such as `MemoryBroker.refuse_publishes`.
    """

    def __init__(self, home: InMemory) -> None:
        super().__init__(home.app.registry, home.recorded)
        self._home = home
        self.app: Stem = home.app
        self.clock: ManualClock = home.clock
        self.broker: MemoryBroker = home.broker
        self._outcomes: list[TaskOutcome] = []
        self._record = Record(self._outcomes)
        self._workers: list[MemoryWorker] = []
        self._scheduled = Scheduled(self.app, self.clock)
        self.unused = Unused()
        """Calls that have no effect until they are entered or awaited."""

    def outcomes(self, task: AnyTask | None = None) -> list[TaskOutcome]:
        """Return the outcomes of runs, in order.

        Args:
            task: only outcomes of this task.
        """
        return records_of(self._outcomes, task)

    def dead_letters(self, queue: str | None = None) -> list[DeadLetter]:
        """Return the messages in dead-letter queues, the oldest first.

        Args:
            queue: only dead letters of this logical queue.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        app, letters = self.app, []
        for name in app.queues if queue is None else (queue,):
            version = app.topology.queue(name).version
            works = app.names.works(name, version).values()
            for position, message in enumerate(self.broker.messages(app.names.dlq(name)), 1):
                # a message has every attribute of a delivery that is read here
                letter = DeadLetter.read(
                    cast("Delivery", message),
                    position=position,
                    work_queues=tuple(works),
                    seal=app.connected.seal,
                )
                letters.append(letter)
        return letters

    def clear(self) -> None:
        """Clear the records of enqueued tasks and outcomes, such as those of a test's set-up."""
        self.forget_enqueued()
        self._outcomes.clear()

    def run_due(
        self, *, raise_errors: bool = False, timeout: Duration = PATIENCE
    ) -> Coroutine[Any, Any, list[TaskOutcome]]:
        """Run every task that is due now, and the tasks that these enqueue, until nothing is due.

        They run in this event loop, in a temporary worker unless one runs already. A task that fails
        is retried later or dead-lettered, as usual. A batch that is not full runs too.

        Args:
            raise_errors: raise the first exception of a task after all tasks have run.
            timeout: real time that it may take.

        Returns:
            The outcomes of the runs, in the order in which they ended.

        Raises:
            TimeoutError: tasks do not end; the message names them.
            BaseException: the exception of a task, with `raise_errors`.
        """
        work = self._run_due(seconds(timeout), raise_errors=raise_errors)
        return self.unused.coroutine(
            work, "await stem_memory.run_due()`, or `stem_memory.run_due_blocking()"
        )

    async def _run_due(self, timeout: float, *, raise_errors: bool) -> list[TaskOutcome]:
        async with self._worker_for_due_tasks(timeout, raise_errors=raise_errors, flush=True) as (
            done,
            run_due_tasks,
        ):
            await run_due_tasks()
        return done

    def advance(
        self,
        duration: Duration,
        *,
        working: bool = True,
        raise_errors: bool = False,
        timeout: Duration = PATIENCE,
    ) -> Coroutine[Any, Any, list[TaskOutcome]]:
        """Advance the clock from one due time to the next, and run the tasks that are due at each.

        Delays, retries, snoozes and ETAs become due at their times; TTLs, expiries and windows of
        unique tasks end. A batch that is not full runs when its time has passed.

        Args:
            duration: seconds or a duration such as ``"1h"``.
            working: whether due tasks are run; False simulates a time without workers. Ticks of schedules
                are enqueued in any case.
            raise_errors: raise the first exception of a task after all tasks have run.
            timeout: real time that the tasks of one due time may take.

        Returns:
            The outcomes of the runs, in the order in which they ended.

        Raises:
            TimeoutError: tasks do not end; the message names them.
            BaseException: the exception of a task, with `raise_errors`.
        """
        work = self._advance(
            seconds(duration), seconds(timeout), working=working, raise_errors=raise_errors
        )
        return self.unused.coroutine(
            work, "await stem_memory.advance(…)`, or `stem_memory.advance_blocking(…)"
        )

    async def _advance(
        self, duration: float, timeout: float, *, working: bool, raise_errors: bool
    ) -> list[TaskOutcome]:
        end = self.clock.time() + duration
        self._scheduled.look_ahead(end)
        if not working:
            await self._to_each_due(end)
            return []
        async with self._worker_for_due_tasks(timeout, raise_errors=raise_errors, flush=False) as (
            done,
            run_due_tasks,
        ):
            await run_due_tasks()
            await self._to_each_due(end, run_due_tasks)
        return done

    async def _to_each_due(
        self, end: float, run_due_tasks: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Advance the clock from one due time to the next, and at last to the end."""
        due: float | None = 0.0
        while due is not None:
            # Without a worker nothing reacts to what is due, so only ticks matter
            dues = [self._scheduled.next_due(), self.clock.next_due() if run_due_tasks else None]
            due = min((one for one in dues if one is not None and one <= end), default=None)
            to = end if due is None else due
            self.clock.advance(max(0.0, to - self.clock.time()))
            await self._scheduled.enqueue_due()
            if run_due_tasks is not None:
                await run_due_tasks()

    def run_due_blocking(
        self, *, raise_errors: bool = False, timeout: Duration = PATIENCE
    ) -> list[TaskOutcome]:
        """Do what `run_due` does, in a synchronous test.

        Raises:
            StemError: an event loop runs in this thread: ``await run_due()`` there.
        """
        work = self.run_due(raise_errors=raise_errors, timeout=timeout)
        return self._block(work, "await stem_memory.run_due()")

    def advance_blocking(
        self,
        duration: Duration,
        *,
        working: bool = True,
        raise_errors: bool = False,
        timeout: Duration = PATIENCE,
    ) -> list[TaskOutcome]:
        """Do what `advance` does, in a synchronous test.

        Raises:
            StemError: an event loop runs in this thread: ``await advance(…)`` there.
        """
        work = self.advance(duration, working=working, raise_errors=raise_errors, timeout=timeout)
        return self._block(work, "await stem_memory.advance(…)")

    def worker(
        self,
        queues: Sequence[str] | None = None,
        *,
        concurrency: int | None = None,
        prefetch: int | None = None,
        name: str | None = None,
    ) -> AbstractAsyncContextManager[MemoryWorker]:
        """Run a worker for the length of a block; it runs tasks as they arrive, and can be frozen.

        `run_due` and `advance` wait for it instead of starting a temporary worker.

        Args:
            queues: the logical queues; default: all.
            concurrency: tasks at once per queue.
            prefetch: unsettled deliveries per queue.
            name: the worker's name.
        """
        worker = MemoryWorker(
            self._home,
            self._record,
            queues,
            unused=self.unused,
            concurrency=concurrency,
            prefetch=prefetch,
            name=name,
        )
        return self.unused.block(
            self._working(worker), "async with stem_memory.worker() as worker:"
        )

    @asynccontextmanager
    async def _working(self, worker: MemoryWorker) -> AsyncIterator[MemoryWorker]:
        async with worker.working():
            self._workers.append(worker)
            try:
                yield worker
            finally:
                self._workers.remove(worker)

    @asynccontextmanager
    async def _worker_for_due_tasks(
        self, timeout: float, *, raise_errors: bool, flush: bool
    ) -> AsyncIterator[tuple[list[TaskOutcome], Any]]:
        """Yield the outcomes of a block, and a function with which the workers run the due tasks."""
        begin, done, own = len(self._outcomes), list[TaskOutcome](), list[MemoryWorker]()
        async with AsyncExitStack() as stack:

            async def run_due_tasks() -> None:
                if all(worker.frozen for worker in self._workers):
                    own.append(await stack.enter_async_context(self.worker(name="run_due")))
                try:
                    await until_idle(self._home, self._workers, timeout, flush=flush)
                except BaseException:
                    for worker in own:
                        worker.abandon()
                    raise

            yield done, run_due_tasks
        done += self._outcomes[begin:]
        failures = [one.failure() for one in done] if raise_errors else []
        for failure in failures:
            if failure is not None:
                raise failure

    def _block(self, work: Coroutine[Any, Any, T], instead: str) -> T:
        try:
            check_may_block(instead)
        except BaseException:
            work.close()
            raise
        return run_in(self._home.loop(), work)

    def __repr__(self) -> str:
        return (
            f"<StemMemory of {self.app!r}: {len(self._home.recorded)} enqueued,"
            f" {len(self._outcomes)} outcomes>"
        )
