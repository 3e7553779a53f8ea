"""What a worker shows about itself at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stem_amqp.context.context import context_in
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.statistics import WorkerStatistics
from stem_amqp.worker.running.threads import ThreadPool
from stem_amqp.worker.settle import Settler


class Gauges:
    """Reads the current values of a worker's parts; it changes nothing.

    Args:
        name: the worker's name.
        consumers: its consumers.
        threads: run synchronous functions.
        executor: executes jobs.
        settler: settles them.
        certificates: the files of the certificates that its connections use.
    """

    def __init__(
        self,
        name: str,
        consumers: Sequence[QueueConsumer],
        *,
        threads: ThreadPool,
        executor: Executor,
        settler: Settler,
        certificates: Sequence[Path] = (),
    ) -> None:
        self.name = name
        self.certificates = certificates
        self._consumers = consumers
        self._threads = threads
        self._executor = executor
        self._settler = settler

    @property
    def capacity(self) -> Mapping[str, int]:
        """The maximum number of tasks at once, by logical queue."""
        return {consumer.queue: consumer.concurrency for consumer in self._consumers}

    @property
    def unsettled(self) -> Sequence[Job]:
        """The deliveries that are not settled yet."""
        return [job for consumer in self._consumers for job in consumer.jobs]

    @property
    def running(self) -> Mapping[str, int]:
        """The number of tasks that run, by logical queue."""
        return {consumer.queue: consumer.running for consumer in self._consumers}

    @property
    def threads(self) -> tuple[int, int]:
        """The number of threads in use for synchronous tasks, and the maximum."""
        return self._threads.in_use, self._threads.size

    @property
    def consuming(self) -> Mapping[str, bool]:
        """Whether the broker delivers to the worker, by logical queue."""
        return {consumer.queue: consumer.intake.consuming for consumer in self._consumers}

    @property
    def paused(self) -> Sequence[str]:
        """The logical queues that are paused on purpose."""
        return [consumer.queue for consumer in self._consumers if consumer.intake.paused]

    def run_in(self, task: asyncio.Task[Any]) -> tuple[str, str] | None:
        """Return name and id of the task whose run an asyncio task belongs to; None if it is not known."""
        for consumer in self._consumers:
            job = consumer.job_in(task)
            if job is not None and job.message is not None:
                return job.message.task, job.message.id
        context = context_in(task)
        return None if context is None else (context.task, context.id)

    def statistics(self) -> WorkerStatistics:
        """Return the worker's current statistics."""
        queues = dict(self.running)
        return WorkerStatistics(
            name=self.name,
            queues=queues,
            consuming=tuple(queue for queue, active in self.consuming.items() if active),
            paused=tuple(self.paused),
            running=sum(queues.values()),
            done=sum(consumer.done for consumer in self._consumers),
            abandoned_threads=self._threads.abandoned,
            waiting_for_threads=self._threads.waiting,
            threads_used_up=self._threads.used_up,
            worker_failures=self._executor.failures
            + self._settler.failures
            + sum(consumer.failures for consumer in self._consumers),
            signature_invalid=self._executor.refused,
            settle_refused=self._settler.refused,
            replies_given_up=self._settler.replies_given_up,
        )
