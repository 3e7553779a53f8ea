"""Consumes one queue: turns deliveries into jobs, executes and settles them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.outcome import Outcome, Returned, Revoked
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.intake.causes import Cause
from stem_amqp.worker.intake.intake import Intake
from stem_amqp.worker.intake.sources import Sources
from stem_amqp.worker.isolation.quarantine import Quarantine
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.report.failure_log import write
from stem_amqp.worker.running.failure import failure_of
from stem_amqp.worker.running.interruption import comes_from_outside
from stem_amqp.worker.settle import Settler
from stem_amqp.worker.slots import Slot, Slots

log = logging.getLogger("stem_amqp.worker")


class QueueConsumer:
    """Consumes one logical queue, in all of its versions that exist on the broker.

    While a queue is replaced by its next version, both have tasks.

    Args:
        queue: the logical queue.
        blueprint: the application.
        transport: the broker.
        executor: runs jobs.
        settler: settles them.
        announcer: sends the signals.
        quarantine: decides which messages must not run in this process.
        concurrency: the maximum number of jobs that run at once.
        prefetch: the maximum number of unsettled deliveries; those beyond the concurrency wait.
        tag: the consumer tag.
        window: how many of those may wait for their time without a slot.

    Attributes:
        intake: what it takes from the queue, and whether that is paused.
        done: the number of deliveries settled since the start.
        failures: the number of deliveries on which the worker's own code failed.
    """

    def __init__(
        self,
        queue: str,
        blueprint: Blueprint,
        transport: Transport,
        *,
        executor: Executor,
        settler: Settler,
        announcer: Announcer,
        quarantine: Quarantine,
        concurrency: int,
        prefetch: int,
        tag: str,
        window: int = 0,
    ) -> None:
        self.queue = queue
        self.concurrency = concurrency
        self.prefetch = prefetch
        self.done = 0
        self.failures = 0
        spec = blueprint.topology.queue(queue)
        self._native = spec.native_retry is not None
        self._executor = executor
        self._settler = settler
        self._announcer = announcer
        self._quarantine = quarantine
        self._telemetry = blueprint.telemetry
        self._slots = Slots(concurrency, window) if prefetch > concurrency else None
        self._executing = 0
        self._jobs: dict[asyncio.Task[None], Job] = {}
        self.intake = Intake(
            Sources(
                queue,
                blueprint.names.works(queue, spec.version),
                spec.version,
                transport,
                prefetch=prefetch,
                tag=tag,
                on_delivery=self._on_delivery,
                on_second=self._share_slots,
            )
        )

    @property
    def running(self) -> int:
        """The number of jobs whose task is running."""
        return sum(1 for job in self.jobs if job.started and job.outcome is None)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of the deliveries that are not settled yet."""
        return tuple(self._jobs.values())

    def job_in(self, task: asyncio.Task[Any]) -> Job | None:
        """Return the job that an asyncio task works on; None if it is another's."""
        return self._jobs.get(task)

    async def start(self) -> None:
        """Start to consume, unless the queue is paused: then `resume` does.

        Raises:
            BrokerError: the queue cannot be consumed.
        """
        await self.intake.start()

    def _share_slots(self) -> None:
        """Let the consumers of several queues on the broker share the concurrency."""
        if self._slots is None:
            # Each has its own prefetch, so deliveries beyond the concurrency wait here
            self._slots = Slots(self.concurrency, taken=self._executing)

    def _on_delivery(self, delivery: Delivery, held: bool = False) -> None:
        loop = asyncio.get_running_loop()
        try:
            job = self._job(delivery, held)
        except Exception as error:  # noqa: BLE001 - it is logged and counted there
            job = Job(body=delivery.body, headers={}, queue=self.queue)
            task = loop.create_task(self._fail(delivery, job, error))
        else:
            task = loop.create_task(self._work(delivery, job))
        self._jobs[task] = job
        task.add_done_callback(self._forget)

    def _job(self, delivery: Delivery, held: bool) -> Job:
        return Job(
            body=delivery.body,
            headers=delivery.headers,
            queue=self.queue,
            reply_to=delivery.reply_to,
            redelivered=delivery.redelivered,
            # Only the work queue itself delays retries
            native=self._native and not held,
            suspect=delivery.redelivered and self._quarantine.suspects(delivery),
            type=delivery.type,
            correlation_id=delivery.correlation_id,
            message_id=delivery.message_id,
        )

    def _forget(self, task: asyncio.Task[None]) -> None:
        job = self._jobs.pop(task)
        if job.give_back is not None:
            job.give_back()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The rejection in `_fail` failed too: unsettled until the channel closes
            self.failures += 1
            log.error("%s: the worker itself failed", job, exc_info=error)

    async def _work(self, delivery: Delivery, job: Job) -> None:
        try:
            job.outcome = await self._outcome(job)
            settled = await self._settler.settle(delivery, job, job.outcome)
            if settled:
                self.done += 1
            if job.nonce is not None or job.claim is not None:
                await self._executor.ended(job, settled=settled)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if comes_from_outside(error, self._task_of(job)):
                raise
            await self._fail(delivery, job, error)

    async def _fail(self, delivery: Delivery, job: Job, error: BaseException) -> None:
        """Reject a delivery on which the worker's own code failed: it must not hold its slot."""
        self.failures += 1
        write(
            logging.ERROR,
            job,
            failure_of(error),
            "%s: the worker itself failed, so RabbitMQ moves the message to the dead-letter queue"
            " unchanged. This is a bug of the worker or of an extension: please report it",
        )
        for report in self._telemetry.worker_failed:
            report(job, error)
        await self._settler.abandon(delivery, job, error)

    async def _outcome(self, job: Job) -> Outcome:
        if self.intake.refuses(job):
            return await self._refused(job)
        try:
            await self._announcer.received(job)
            if self._slots is not None:
                job.slot = Slot(self._slots)
                if not job.slot.comes_late:
                    await job.slot.take()
        except asyncio.CancelledError:
            return self._executor.interrupted(job)
        self._executing += 1
        try:
            # It may have waited for its slot since before the pause
            if self.intake.refuses(job):
                return await self._refused(job)
            return await self._executor.execute(job)
        finally:
            self._executing -= 1
            if job.slot is not None:
                job.slot.give_back()
            elif self._slots is not None:
                # The slots were made during the run, which is counted in them
                self._slots.free.release()

    async def _refused(self, job: Job) -> Outcome:
        """Return the outcome of a job that must not start, once the broker delivers no more.

        Before that it would deliver the message here again at once, and again, and count each delivery.
        """
        try:
            await self.intake.changed()
        except asyncio.CancelledError:
            return self._executor.interrupted(job)
        return Returned()

    async def resize(self, concurrency: int, prefetch: int) -> None:
        """Change how many jobs run at once; running ones continue, also those beyond the new number.

        Args:
            concurrency: the maximum number of jobs that run at once.
            prefetch: the maximum number of unsettled deliveries, at least the concurrency.

        Raises:
            BrokerError: the queue cannot be consumed now; the consumer continues as before.
        """
        # The former consumers' deliveries are not settled yet, and the next ones get their own
        self._share_slots()
        await self.intake.renew(prefetch, tuple(self._jobs))
        self.concurrency, self.prefetch = concurrency, prefetch
        if self._slots is not None:
            self._slots.free.resize(concurrency)

    async def stop(self) -> None:
        """Take no more deliveries, and requeue those whose task has not started."""
        await self.intake.stop()
        self._interrupt(Returned(), lambda job: not job.started)

    async def pause(self, cause: Cause) -> None:
        """Take no more deliveries until `resume`, and requeue those whose task has not started.

        Running tasks continue.

        Args:
            cause: why; the queue is paused until every cause is resumed.
        """
        if await self.intake.pause(cause):
            self._interrupt(Returned(), lambda job: not job.started and not job.tried)

    async def resume(self, cause: Cause) -> None:
        """Consume again after a `pause`, unless there is another cause to pause.

        Args:
            cause: the cause that has ended.

        Raises:
            BrokerError: the queue cannot be consumed now; this consumer stays paused.
        """
        if await self.intake.resume(cause) and not self._jobs:
            await self.intake.forget()

    async def wait_for(self, job: Job) -> None:
        """Wait until a job is settled.

        Args:
            job: a job of this consumer.
        """
        task = self._task_of(job)
        if task is not None:
            await asyncio.wait({task})

    def _task_of(self, job: Job) -> asyncio.Task[None] | None:
        return next((task for task, own in self._jobs.items() if own is job), None)

    def return_unstarted(self, chosen: Callable[[Job], bool]) -> None:
        """Requeue the messages of jobs that have not started.

        Args:
            chosen: returns whether a job, whose message is read, is meant.
        """
        self._interrupt(
            Returned(), lambda job: not job.started and job.definition is not None and chosen(job)
        )

    def requeue_all(self) -> None:
        """Cancel the tasks that still run, and requeue their messages."""
        self._interrupt(Returned(), lambda _: True)

    def revoke(self, task_id: str, reason: str) -> None:
        """Cancel the run of a task, if it runs here; the message is settled as revoked."""
        self._interrupt(
            Revoked(reason=reason),
            lambda job: job.message is not None and job.message.id == task_id,
        )

    def _interrupt(self, outcome: Returned | Revoked, chosen: Callable[[Job], bool]) -> None:
        for task, job in list(self._jobs.items()):
            if job.outcome is None and job.interruption is None and chosen(job):
                job.interruption = outcome
                task.cancel()

    async def drained(self) -> None:
        """Wait until every job is settled."""
        while self._jobs:
            await asyncio.wait(tuple(self._jobs))

    async def close(self) -> None:
        """Cancel the remaining jobs, and close the channel: the broker requeues their messages."""
        for task, job in list(self._jobs.items()):
            log.warning("%s did not end in time; its message is requeued", job)
            task.cancel()
        await self.intake.close()
