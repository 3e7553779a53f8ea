"""What a test holds of an application in memory: look, run what is due, move the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

from stem_amqp.app import Stem
from stem_amqp.blocking.waiting import check_may_block
from stem_amqp.dead_letter import DeadLetter
from stem_amqp.durations import Duration, seconds
from stem_amqp.portal import run_in
from stem_amqp.testing.kit.enqueues import AnyTask, Enqueues, records_of
from stem_amqp.testing.kit.idle import until_idle
from stem_amqp.testing.kit.outcome import Record, TaskOutcome
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.worker import MemoryWorker
from stem_amqp.transport.base import Delivery
from stem_amqp.transport.memory import ManualClock, MemoryBroker

T = TypeVar("T")
PATIENCE = "10s"
"""Real time that tasks may take until a test is told which of them do not end."""


@contextmanager
def in_memory(app: Stem, clock: ManualClock | None = None) -> Iterator[StemMemory]:
    """Put an application on a broker and a result backend in memory, for the length of a block.

    The application is connected in the block, whoever uses it: code under test enqueues as ever.
    Its own connections, if it has any open, are left alone. The pytest fixture ``stem_memory`` does
    this for a test.

    Args:
        app: the application.
        clock: moved by hand; default: a new one that shows the present time.

    Raises:
        StemError: it is in memory already.
        ConfigurationError: its topology needs what the broker in memory has not.
    """
    home = InMemory(app, clock or ManualClock())
    home.enter()
    try:
        yield StemMemory(home)
    finally:
        home.leave()


class StemMemory(Enqueues):
    """An application in memory, as a test sees it.

    Nothing runs by itself: what was enqueued waits until `run_due`, `advance` or a `worker`.

    Args:
        home: where the broker is.

    Attributes:
        app: the application.
        clock: its time; `advance` moves it.
        broker: the broker, for a look inside and for faults such as `MemoryBroker.refuse_publishes`.
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

    def outcomes(self, task: AnyTask | None = None) -> list[TaskOutcome]:
        """Return what the runs of tasks came to, in order.

        Args:
            task: only those of this task.
        """
        return records_of(self._outcomes, task)

    def dead_letters(self, queue: str | None = None) -> list[DeadLetter]:
        """Return what lies in dead-letter queues, the oldest first.

        Args:
            queue: only those of this logical queue.

        Raises:
            TopologyMissingError: there is no such queue.
        """
        app, letters = self.app, []
        for name in app.queues if queue is None else (queue,):
            version = app.topology.queue(name).version
            works = app.names.works(name, version).values()
            for position, message in enumerate(self.broker.messages(app.names.dlq(name)), 1):
                # a message has all of a delivery that is read here
                letter = DeadLetter.read(
                    cast("Delivery", message),
                    position=position,
                    work_queues=tuple(works),
                    seal=app.connected.seal,
                )
                letters.append(letter)
        return letters

    def clear(self) -> None:
        """Forget what was enqueued and what came of it so far, such as that of a test's set-up."""
        self.forget_enqueued()
        self._outcomes.clear()

    async def run_due(
        self, *, raise_errors: bool = False, timeout: Duration = PATIENCE
    ) -> list[TaskOutcome]:
        """Run every task that is due now, and what those enqueue, until nothing is due.

        They run in this event loop, by a worker of their own unless one is there. What fails is
        retried later or dead-lettered, as ever.

        Args:
            raise_errors: raise what a task raised, the first of several, when all is done.
            timeout: real time that it may take.

        Returns:
            What the runs came to, in the order in which they ended.

        Raises:
            TimeoutError: tasks do not end; the message says which.
            BaseException: what a task raised, if that is wanted.
        """
        async with self._labour(seconds(timeout), raise_errors=raise_errors) as (done, labour):
            await labour()
        return done

    async def advance(
        self,
        duration: Duration,
        *,
        working: bool = True,
        raise_errors: bool = False,
        timeout: Duration = PATIENCE,
    ) -> list[TaskOutcome]:
        """Move the clock on, from one due time to the next, and run what is due at each.

        Delays, retries, snoozes and ETAs come due at their own times; TTLs, expiries and windows of
        unique tasks run out.

        Args:
            duration: how far: seconds or a duration such as ``"1h"``.
            working: whether due tasks are run; False: as if no worker were there meanwhile.
            raise_errors: raise what a task raised, the first of several, when all is done.
            timeout: real time that the tasks of one moment may take.

        Returns:
            What the runs came to, in the order in which they ended.

        Raises:
            TimeoutError: tasks do not end; the message says which.
            BaseException: what a task raised, if that is wanted.
        """
        end = self.clock.time() + seconds(duration)
        if not working:
            self.clock.advance(end - self.clock.time())
            return []
        async with self._labour(seconds(timeout), raise_errors=raise_errors) as (done, labour):
            await labour()
            while (due := self.clock.next_due()) is not None and due <= end:
                self.clock.advance(max(0.0, due - self.clock.time()))
                await labour()
            self.clock.advance(max(0.0, end - self.clock.time()))
            await labour()
        return done

    def run_due_blocking(
        self, *, raise_errors: bool = False, timeout: Duration = PATIENCE
    ) -> list[TaskOutcome]:
        """Do as `run_due` does, in a synchronous test.

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
        """Do as `advance` does, in a synchronous test.

        Raises:
            StemError: an event loop runs in this thread: ``await advance(…)`` there.
        """
        work = self.advance(duration, working=working, raise_errors=raise_errors, timeout=timeout)
        return self._block(work, "await stem_memory.advance(…)")

    @asynccontextmanager
    async def worker(
        self,
        queues: Sequence[str] | None = None,
        *,
        concurrency: int | None = None,
        prefetch: int | None = None,
        name: str | None = None,
    ) -> AsyncIterator[MemoryWorker]:
        """Have a worker for the length of a block, which runs tasks as they come, and can freeze.

        `run_due` and `advance` wait for it instead of running tasks by themselves.

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
            concurrency=concurrency,
            prefetch=prefetch,
            name=name,
        )
        async with worker.working():
            self._workers.append(worker)
            try:
                yield worker
            finally:
                self._workers.remove(worker)

    @asynccontextmanager
    async def _labour(
        self, timeout: float, *, raise_errors: bool
    ) -> AsyncIterator[tuple[list[TaskOutcome], Any]]:
        """Give the outcomes of a block and what lets the workers do what is due, one at least."""
        begin, done, own = len(self._outcomes), list[TaskOutcome](), list[MemoryWorker]()
        async with AsyncExitStack() as stack:

            async def labour() -> None:
                if all(worker.frozen for worker in self._workers):
                    own.append(await stack.enter_async_context(self.worker(name="run_due")))
                try:
                    await until_idle(self._home, self._workers, timeout)
                except BaseException:
                    for worker in own:
                        worker.abandon()
                    raise

            yield done, labour
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
