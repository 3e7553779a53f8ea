"""Carries out the pauses of queues and tasks that hold in a worker, and their ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from stem_amqp.blueprint import Blueprint
from stem_amqp.cancellation import end
from stem_amqp.clock import Clock
from stem_amqp.directives.model import LONGEST, Directive, Kind, Target
from stem_amqp.directives.state import Directives
from stem_amqp.errors import StemError
from stem_amqp.transport.base import Transport
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.intake.causes import Cause
from stem_amqp.worker.job import Job
from stem_amqp.worker.pauses.holding import HoldingQueues
from stem_amqp.worker.pauses.tasks import PausedTasks

log = logging.getLogger("stem_amqp.worker")

RETRY = 5.0
"""Seconds until the next attempt to consume what could not be consumed."""
SCAN = 30.0
"""Seconds between two looks at the queues of tasks that are no longer paused, until they are empty."""
MISSING_FOR = 600.0
"""Seconds for which a queue that does not exist is not looked for again."""
_KINDS = frozenset({Kind.PAUSE, Kind.BREAKER, Kind.HELD})

Issue = Callable[[Directive], Awaitable[object]]
"""Stores a directive and sends it to all workers; raises if that is not possible."""


class Pauses:
    """Carries out the pauses of queues and tasks that hold in a worker, and their ends.

    A paused queue is not consumed. The messages of a paused task are moved to a queue of their own, as they
    come up; when the task is resumed, the workers that consume its logical queue consume that queue too,
    until it is empty.

    Args:
        blueprint: the application.
        transport: the broker.
        directives: what holds in this worker.
        issue: stores a directive and sends it to all workers.
        worker: the worker's name.
        reread: reads the stored directives again.

    Attributes:
        tasks: which tasks are paused, for the executor.
        holding: moves messages of paused tasks, for the settler.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        transport: Transport,
        directives: Directives,
        issue: Issue,
        *,
        worker: str,
        reread: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.tasks = PausedTasks(directives)
        self.holding = HoldingQueues(transport, blueprint.names, self._register)
        self._blueprint = blueprint
        self._transport = transport
        self._clock: Clock = transport.clock
        self._directives = directives
        self._issue = issue
        self._worker = worker
        self._reread = reread
        self._consumers: Sequence[QueueConsumer] = ()
        self._changed = asyncio.Event()
        self._missing: dict[str, float] = {}
        self._unregistered: set[tuple[str, str]] = set()
        self._empty: set[str] = set()
        self._tried: set[str] = set()
        directives.listen(self._learn)

    def attach(self, consumers: Sequence[QueueConsumer]) -> None:
        """Set the worker's consumers."""
        self._consumers = consumers

    async def prepare(self) -> None:
        """Pause what must not be consumed from the start, before any consumer starts."""
        self.tasks.refresh()
        await self._pause_queues()

    async def reread(self) -> None:
        """Learn what is stored, before something is decided that only one worker may decide.

        Raises:
            StemError: the store does not answer.
        """
        if self._reread is not None:
            await self._reread()

    async def waiting(self, consumer: QueueConsumer) -> list[str]:
        """Return the queues in which messages of tasks wait that are not paused themselves.

        Args:
            consumer: the consumer of their logical queue.

        Raises:
            BrokerError: the broker cannot be reached, or refuses access.
        """
        places = self._places(consumer.queue)
        names = [self._held(one) for one in places if not self.tasks.pauses(one[1], one[0])]
        return sorted(await self._full(names))

    async def try_task(self, task: str) -> Job:
        """Let one job of a paused task start, and return it when it does.

        Args:
            task: the task's name.

        Raises:
            BrokerError: the queues in which its messages wait cannot be consumed.
        """
        places = {
            consumer: [self._held(one) for one in self._places(consumer.queue) if one[1] == task]
            for consumer in self._consumers
        }
        starting = asyncio.create_task(self.tasks.try_one(task))
        self._tried.add(task)
        try:
            for consumer, names in places.items():
                await consumer.intake.open_held(sorted(await self._full(names)), prefetch=1)
            return await starting
        finally:
            await end(starting)
            self._tried.discard(task)
            for consumer, names in places.items():
                await consumer.intake.leave_held(names)

    def _held(self, place: tuple[str, str]) -> str:
        return self._blueprint.names.held(*place)

    async def run(self) -> None:
        """Carry out changes until cancelled."""
        while True:
            self._changed.clear()
            wait = await self._apply()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                log.debug("looking again at queues of tasks that were paused")

    def _learn(self, news: Iterable[Directive]) -> None:
        if any(one.kind in _KINDS for one in news):
            self.tasks.refresh()
            self._changed.set()

    async def _apply(self) -> float | None:
        """Carry out what holds now; return the seconds after which to look again, if ever."""
        done = True
        await self._pause_queues()
        if self.tasks.active:
            for consumer in self._consumers:
                consumer.return_unstarted(
                    lambda job: (
                        job.definition is not None
                        and not job.tried
                        and self.tasks.pauses(job.definition.name, job.queue)
                    )
                )
        for consumer in self._consumers:
            done = await self._resume(consumer) and done
        for place in tuple(self._unregistered):
            await self._register(*place)
        try:
            waiting = await self._consume_held()
        except StemError as error:
            log.warning("the messages of tasks that were paused cannot be consumed yet: %s", error)
            done = waiting = False
        if not done or self._unregistered:
            return RETRY
        return SCAN if waiting else None

    async def _pause_queues(self) -> None:
        """Pause the queues that a directive pauses, all at the same time."""

        async def pause(consumer: QueueConsumer) -> None:
            directive = self._directives.paused_queue(consumer.queue)
            if directive is None or consumer.intake.is_paused_for(Cause.DIRECTIVE):
                return
            log.info("queue %s is paused%s", consumer.queue, _described(directive))
            await consumer.pause(Cause.DIRECTIVE)

        await asyncio.gather(*(pause(consumer) for consumer in self._consumers))

    async def _resume(self, consumer: QueueConsumer) -> bool:
        """Consume a queue again that is no longer paused; return False if that is not possible yet."""
        if not consumer.intake.is_paused_for(Cause.DIRECTIVE):
            return True
        if self._directives.paused_queue(consumer.queue) is not None:
            return True
        try:
            await consumer.resume(Cause.DIRECTIVE)
        except StemError as error:
            log.warning("queue %s cannot be consumed yet: %s", consumer.queue, error)
            return False
        log.info("queue %s is resumed", consumer.queue)
        return True

    async def _consume_held(self) -> bool:
        """Consume the queues of tasks that are no longer paused; return whether to look again.

        Raises:
            BrokerError: the broker cannot be reached, or refuses access.
        """
        again = False
        for consumer in self._consumers:
            names = {
                self._held(place): self.tasks.pauses(place[1], place[0])
                for place in self._places(consumer.queue)
                if place[1] not in self._tried
            }
            open_now = set(consumer.intake.held)
            await consumer.intake.leave_held([name for name in open_now if names.get(name, False)])
            wanted = [name for name, paused in names.items() if not paused]
            if not wanted or consumer.intake.is_paused_for(Cause.DIRECTIVE):
                continue
            again = True
            full = await self._full(wanted)
            await consumer.intake.open_held([name for name in wanted if name in full])
            await self._leave_empty(
                consumer, {n for n in open_now if n in wanted and n not in full}
            )
        return again

    async def _leave_empty(self, consumer: QueueConsumer, empty: set[str]) -> None:
        """Stop to consume queues that have been empty since the last look."""
        await consumer.intake.leave_held(sorted(empty & self._empty))
        self._empty = (self._empty - set(consumer.intake.held)) | empty

    def _places(self, queue: str) -> set[tuple[str, str]]:
        """Return the logical queue and the known tasks whose messages wait, or have waited, somewhere."""
        found = {place for place in self.holding.used if place[0] == queue}
        found |= {
            (queue, one.target.task)
            for one in self._directives.in_effect(Kind.HELD)
            if one.target.queue == queue and one.target.task
        }
        return {place for place in found if self._blueprint.registry.get(place[1]) is not None}

    async def _full(self, names: Iterable[str]) -> set[str]:
        """Return the queues that have messages; one that does not exist is not looked for again soon."""
        now = time.monotonic()
        asked = [
            name for name in names if now - self._missing.get(name, float("-inf")) >= MISSING_FOR
        ]
        status = await self._transport.status(asked)
        for name, found in status.items():
            if found is None:
                self._missing[name] = now
        return {name for name, found in status.items() if found is not None and found.ready}

    async def _register(self, queue: str, task: str) -> None:
        """Note for all workers that messages of a task wait in a queue of its own."""
        name = self._blueprint.names.held(queue, task)
        self._missing.pop(name, None)
        target = Target(queue=queue, task=task)
        if any(one.target == target for one in self._directives.in_effect(Kind.HELD)):
            self._unregistered.discard((queue, task))
            return
        try:
            await self._issue(
                Directive(
                    kind=Kind.HELD,
                    target=target,
                    reason=f"messages of the paused task wait in {name}",
                    by=f"worker {self._worker}",
                    expires=self._clock.time() + LONGEST,
                )
            )
        except StemError as error:
            # This worker knows of it, and tries again: the messages are safe in the broker
            self._unregistered.add((queue, task))
            log.warning("the queue %s is not known to the other workers yet: %s", name, error)
            self._changed.set()
        else:
            self._unregistered.discard((queue, task))


def _described(directive: Directive) -> str:
    by = f" by {directive.by!r}" if directive.by else ""
    return f"{by}: {directive.reason!r}" if directive.reason else by
