"""The worker's half of one queue: deliveries in, jobs run, deliveries settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stem_amqp.transport.base import Consumer, Delivery, Transport
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Outcome, Returned, Revoked
from stem_amqp.worker.quarantine import Quarantine
from stem_amqp.worker.settle import Settler

log = logging.getLogger("stem_amqp.worker")


class QueueConsumer:
    """Consumes one logical queue.

    Args:
        queue: the logical queue.
        name: its name on the broker.
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
        name: str,
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
        self.name = name
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.done = 0
        self._transport = transport
        self._executor = executor
        self._settler = settler
        self._announcer = announcer
        self._quarantine = quarantine
        self._tag = tag
        self._native = native
        self._slots = asyncio.Semaphore(concurrency) if prefetch > concurrency else None
        self._jobs: dict[Job, asyncio.Task[None]] = {}
        self._consumer: Consumer | None = None
        self._stopping = False

    @property
    def running(self) -> int:
        """Jobs whose task is running."""
        return sum(1 for job in self._jobs if job.started and job.outcome is None)

    @property
    def consuming(self) -> bool:
        """Whether the broker currently delivers."""
        return self._consumer is not None and self._consumer.consuming

    async def start(self) -> None:
        """Begin to consume."""
        self._consumer = await self._transport.consume(
            self.name, self._on_delivery, prefetch=self.prefetch, tag=self._tag
        )

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
            if self._slots is not None:
                await self._slots.acquire()
        except asyncio.CancelledError:
            return self._executor.interrupted(job)
        try:
            return await self._executor.execute(job)
        finally:
            if self._slots is not None:
                self._slots.release()

    async def stop(self) -> None:
        """Take no more deliveries, and give back those whose task has not started."""
        self._stopping = True
        if self._consumer is not None:
            await self._consumer.stop()
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
        if self._consumer is not None:
            await self._consumer.close()
