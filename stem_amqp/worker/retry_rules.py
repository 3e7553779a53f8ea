"""The rules for the next run of a task: those of its call, else of the task, else of its queue."""

from __future__ import annotations

from dataclasses import replace

from stem_amqp.outcome import Outcome, Retried
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.task_control import Retry
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import DEFAULT_MAX_RETRIES
from stem_amqp.topology.model import Topology
from stem_amqp.worker.classify import classify
from stem_amqp.worker.gates.age import age, unless_too_old
from stem_amqp.worker.job import Job


class RetryRules:
    """Decides what follows a failed run.

    Args:
        topology: the retry policies of queues.
        max_age: the maximum age in seconds of a task that runs again, unless its call, its
            definition or its queue sets another one.
    """

    def __init__(self, topology: Topology, max_age: float) -> None:
        self._topology = topology
        self._max_age = max_age
        self._queue_retries: dict[str, int] = {}

    def max_retries(self, job: Job) -> int:
        """Return the maximum number of runs after the first one."""
        value = job.option("max_retries")
        if value is not None:
            return int(value)
        known = self._queue_retries.get(job.queue)
        if known is None:
            of_queue = self._topology.queue(job.queue).max_retries
            known = DEFAULT_MAX_RETRIES if of_queue is None else of_queue
            self._queue_retries[job.queue] = known
        return known

    def after_failure(
        self, job: Job, definition: TaskDefinition, error: BaseException, now: float
    ) -> Outcome:
        """Return the outcome of a run that raised an exception.

        Args:
            job: the job.
            definition: its task.
            error: the exception.
            now: seconds since the epoch.
        """
        outcome = classify(
            error,
            attempt=job.attempt,
            max_retries=job.max_retries,
            policy=self._policy(job),
            definition=definition,
            elapsed=age(job, now),
        )
        if job.native:
            outcome = self._natively(job, error, outcome)
        return self.unless_too_old(job, outcome, now)

    def unless_too_old(self, job: Job, outcome: Outcome, now: float) -> Outcome:
        """Return an outcome, or a dead letter if the task would run again and is too old.

        Args:
            job: the job.
            outcome: the outcome of its run.
            now: seconds since the epoch.
        """
        own: float | None = job.option("max_age")
        if own is None:
            own = self._topology.queue(job.queue).max_age or self._max_age
        return unless_too_old(outcome, job, now, own)

    def _natively(self, job: Job, error: BaseException, outcome: Outcome) -> Outcome:
        """Make a retry native, unless the exception or an option of call or task sets the delay."""
        native = self._topology.queue(job.queue).native_retry
        if native is None or not isinstance(outcome, Retried):
            return outcome
        asked = isinstance(error, Retry) and error.delay is not None
        if asked or job.option("retry") is not None:
            return outcome
        return replace(outcome, delay=native.delay(job.failures + 1), native=True)

    def _policy(self, job: Job) -> RetryPolicy:
        short = job.message.options.get("retry") if job.message else None
        if short is not None:
            return RetryPolicy.parse(short)
        if job.definition is not None and job.definition.options.retry is not None:
            return job.definition.options.retry
        return self._topology.queue(job.queue).policy or DEFAULT_POLICY
