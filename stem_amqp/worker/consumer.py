"""The worker's half of one queue: deliveries in, jobs run, deliveries settled."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping

from stem_amqp.provision.versions import look_at_versions
from stem_amqp.topology.names import at_version
from stem_amqp.transport.base import Consumer, Delivery, Transport
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Outcome, Returned, Revoked
from stem_amqp.worker.quarantine import Quarantine
from stem_amqp.worker.settle import Settler

log = logging.getLogger("stem_amqp.worker")


class QueueConsumer:
    """Consumes one logical queue, in all versions of it that are on the broker.

    While a queue is replaced by its next version, tasks are in both.

    Args:
        queue: the logical queue.
        names: by version, the names that it may have on the broker.
        version: the version that the topology says.
        transport: where to consume.
        executor: runs jobs.
        settler: settles them.
        announcer: tells the signals.
        quarantine: says what must not run in this process.
        concurrency: jobs at once.
        prefetch: unsettled deliveries at most; what exceeds the concurrency waits here.
        tag: the consumer tag.
        native: whether the queue retries by itself.
    """

    def __init__(
        self,
        *,
        queue: str,
        names: Mapping[int, str],
        version: int,
        transport: Transport,
        executor: Executor,
        settler: Settler,
        announcer: Announcer,
        quarantine: Quarantine,
        concurrency: int,
        prefetch: int,
        tag: str,
        native: bool = False,
    ) -> None:
        self.queue = queue
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.done = 0
        self._names = names
        self._version = version
        self._transport = transport
        self._executor = executor
        self._settler = settler
        self._announcer = announcer
        self._quarantine = quarantine
        self._tag = tag
        self._native = native
        self._slots = asyncio.Semaphore(concurrency) if prefetch > concurrency else None
        self._jobs: dict[Job, asyncio.Task[None]] = {}
        self._consumers: dict[int, Consumer] = {}
        self._left: list[Consumer] = []
        self._following = asyncio.Lock()
        self._stopping = False

    @property
    def running(self) -> int:
        """Jobs whose task is running."""
        return sum(1 for job in self._jobs if job.started and job.outcome is None)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The deliveries that are not settled yet."""
        return tuple(self._jobs)

    @property
    def consuming(self) -> bool:
        """Whether the broker currently delivers."""
        consumers = self._consumers.values()
        return bool(consumers) and all(consumer.consuming for consumer in consumers)

    async def start(self) -> None:
        """Begin to consume.

        Raises:
            BrokerError: the queue cannot be consumed.
        """
        async with self._following:
            for version in await self._there() or [self._version]:
                await self._consume(version)

    async def _there(self) -> list[int]:
        """Return the versions that are on the broker."""
        own = self._names[self._version]
        others = [name for name in self._names.values() if name != own]
        status = await look_at_versions(self._transport, (own,), others)
        return [version for version, name in self._names.items() if status[name] is not None]

    async def _consume(self, version: int) -> None:
        if version in self._consumers:
            return
        if self._consumers and self._slots is None:
            # Each has deliveries of its own, and what exceeds the concurrency waits here. Tasks that
            # run already hold no slot: there are more at once until they end
            self._slots = asyncio.Semaphore(self.concurrency)
        self._consumers[version] = await self._transport.consume(
            self._names[version],
            self._on_delivery,
            prefetch=self.prefetch,
            tag=at_version(self._tag, version),
            on_missing=functools.partial(self._moved, version),
        )

    async def _moved(self, version: int) -> bool:
        """Go on with the other versions when one is gone; return whether there are any."""
        async with self._following:
            others = [other for other in await self._there() if other != version]
            if self._stopping or not others:
                return False
            for other in others:
                await self._consume(other)
            # What it delivered is still to be settled
            self._left.append(self._consumers.pop(version))
        log.info("queue %s: version %d is gone, going on with %d", self.queue, version, max(others))
        return True

    def _on_delivery(self, delivery: Delivery) -> None:
        job = Job(
            body=delivery.body,
            headers=delivery.headers,
            queue=self.queue,
            reply_to=delivery.reply_to,
            redelivered=delivery.redelivered,
            native=self._native,
            suspect=delivery.redelivered and self._quarantine.suspects(delivery),
            type=delivery.type,
            correlation_id=delivery.correlation_id,
        )
        task = asyncio.create_task(self._work(delivery, job))
        self._jobs[job] = task
        task.add_done_callback(lambda _: self._forget(job, task))

    def _forget(self, job: Job, task: asyncio.Task[None]) -> None:
        self._jobs.pop(job, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its delivery stays unsettled and comes back when the channel closes
            log.error("%s: the worker itself failed", job, exc_info=error)

    async def _work(self, delivery: Delivery, job: Job) -> None:
        job.outcome = await self._outcome(job)
        if await self._settler.settle(delivery, job, job.outcome):
            self.done += 1

    async def _outcome(self, job: Job) -> Outcome:
        if self._stopping:
            return Returned()
        try:
            await self._announcer.received(job)
            slots = self._slots
            if slots is not None:
                await slots.acquire()
        except asyncio.CancelledError:
            return self._executor.interrupted(job)
        try:
            return await self._executor.execute(job)
        finally:
            if slots is not None:
                slots.release()

    async def stop(self) -> None:
        """Take no more deliveries, and give back those whose task has not started."""
        self._stopping = True
        async with self._following:
            for consumer in self._consumers.values():
                await consumer.stop()
        self._interrupt(Returned(), lambda job: not job.started)

    def give_back(self) -> None:
        """Cancel the tasks that still run, and give their messages back."""
        self._interrupt(Returned(), lambda _: True)

    def revoke(self, task_id: str, reason: str) -> None:
        """Cancel the run of a task, if it runs here, and forget its message."""
        self._interrupt(
            Revoked(reason=reason),
            lambda job: job.message is not None and job.message.id == task_id,
        )

    def _interrupt(self, outcome: Returned | Revoked, chosen: Callable[[Job], bool]) -> None:
        for job, task in list(self._jobs.items()):
            if job.outcome is None and job.interruption is None and chosen(job):
                job.interruption = outcome
                task.cancel()

    async def drained(self) -> None:
        """Wait until every job is settled."""
        while self._jobs:
            await asyncio.wait(self._jobs.values())

    async def close(self) -> None:
        """Cancel what is left, and close the channel: the broker takes back what is not settled."""
        for job, task in list(self._jobs.items()):
            log.warning("%s does not end; its message goes back to the queue", job)
            task.cancel()
        for consumer in (*self._consumers.values(), *self._left):
            await consumer.close()
