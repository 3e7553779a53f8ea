"""Executes one job: reads it, checks it, runs its task and returns the outcome. It uses no AMQP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.errors import ArgumentsError, DecodeError, SignatureError
from stem_amqp.messages.message import NOT_BEFORE, TaskMessage
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import (
    Dead,
    Failure,
    Held,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Succeeded,
)
from stem_amqp.states import Reason
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.batching.collector import Collector
from stem_amqp.worker.continuing.taking import attach_stream, take_results
from stem_amqp.worker.gates.admission import Admission
from stem_amqp.worker.gates.due import has_expired, seconds_early
from stem_amqp.worker.gates.earlier import may_be_repeated
from stem_amqp.worker.gates.limits.gate import LimitGate
from stem_amqp.worker.gates.reader import Reader
from stem_amqp.worker.gates.superseded import is_debounced, superseded
from stem_amqp.worker.gates.unknown import UnknownTasks
from stem_amqp.worker.job import Job
from stem_amqp.worker.pauses.tasks import PausedTasks
from stem_amqp.worker.report.failure_log import write
from stem_amqp.worker.retry_rules import RetryRules
from stem_amqp.worker.running.failure import describe, failure_of
from stem_amqp.worker.running.interruption import comes_from_outside
from stem_amqp.worker.running.run import Runs
from stem_amqp.worker.running.threads import StoppedIterationError
from stem_amqp.worker.running.watcher import Watcher

LARGE = 65_536
"""Bytes of a body above which only the first errors in its arguments are reported."""


class Executor:
    """Executes jobs in the steps of `execute`.

    Args:
        blueprint: the application.
        connected: its open connections.
        watcher: observes runs.
        runs: runs the functions of tasks.
        admission: refuses signed publishes that are copies or for another queue; None refuses none.
        paused: which tasks are paused; None: none is.
        telemetry: what is reported to exporters; None: the application's. A child process reports
            nothing here: the worker does.
        limits: decides when limited tasks start; None: there are no limits.

    Attributes:
        on_ended: called with each run that has ended and its outcome, which is not settled yet; None: nobody
            needs it.
        refused: the number of messages refused because of their signature.
        failures: the number of messages on which the worker's own code failed.
        unknown: decides what follows a message of an unknown task.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        *,
        watcher: Watcher,
        runs: Runs,
        admission: Admission | None = None,
        paused: PausedTasks | None = None,
        telemetry: Telemetry | None = None,
        limits: LimitGate | None = None,
    ) -> None:
        self.on_ended: Callable[[Job, Outcome], None] | None = None
        self.refused = 0
        self.failures = 0
        settings = blueprint.settings
        self._registry = blueprint.registry
        self._clock = connected.transport.clock
        self._backend = connected.backend
        self._watcher = watcher
        self._runs = runs
        self._reader = Reader(connected.seal, settings.incoming_limits)
        self._admission = admission
        self._paused = paused
        self._rules = RetryRules(blueprint.topology, settings.max_age)
        self._telemetry = blueprint.telemetry if telemetry is None else telemetry
        self.unknown = UnknownTasks(blueprint, self._telemetry)
        self.limits = limits

    @property
    def collector(self) -> Collector:
        """Collects the messages of batch tasks."""
        return self._runs.collector

    async def execute(self, job: Job) -> Outcome:
        """Execute a job; the first step that returns an outcome is the last one.

        An exception of the task becomes an outcome. Only a cancellation, a signal or the end of the
        event loop may be raised.

        Args:
            job: a job whose body is not read yet.
        """
        asyncio_task = asyncio.current_task()
        try:
            message = await self._admit(job) if self._admission else self._read(job)
            if message is None:
                return Repeated()
            outcome = (
                self._gate(job, message)
                or (await self._look_up(job) if _needs_look_up(job, message) else None)
                or self._bind(job, message)
                or (await self._wait(job, message) if self._may_wait(job) else None)
                or await self._run(job, asyncio_task)
            )
        except (SignatureError, DecodeError) as error:
            self.refused += isinstance(error, SignatureError)
            outcome = self._reader.unreadable(job, error)
        except asyncio.CancelledError:
            outcome = self.interrupted(job)
        except BaseException as error:
            if comes_from_outside(error, asyncio_task):
                raise
            # Exceptions of the task are handled in the steps: this one is the worker's own
            self.failures += 1
            failure = failure_of(error)
            write(logging.ERROR, job, failure, "%s: the worker itself failed")
            outcome = Dead(reason=Reason.WORKER_FAILED, failure=failure)
        finally:
            if job.part is not None:
                job.part.leave()
        if job.started:
            for report in self._telemetry.ended:
                report(job, outcome)
            if self.on_ended is not None:
                self.on_ended(job, outcome)
        else:
            self._report_not_run(job, outcome)
        return outcome

    def _report_not_run(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Dead):
            for report in self._telemetry.not_run:
                report(job, outcome)

    def _read(self, job: Job) -> TaskMessage:
        message = job.message = self._reader.read(job)
        return message

    async def _admit(self, job: Job) -> TaskMessage | None:
        """Read a job's message and check its publish; None if this publish was processed before.

        The job has no message until its publish is verified: until then nothing of its task is
        stored.
        """
        admission = self._admission
        if admission is None:
            raise RuntimeError("publishes are not checked")
        message = self._reader.read(job)
        job.unsigned = not admission.seal.signed(job.headers)
        if job.unsigned and message.links is not None:
            # The worker would sign what follows it
            raise SignatureError("a message of a composition must be signed, and this one is not")
        admitted = await admission.admits(job, message)
        job.message = message
        return message if admitted else None

    def _gate(self, job: Job, message: TaskMessage) -> Outcome | None:
        """Look up the job's task; return an outcome if it must not run, or not yet."""
        job.definition = self._registry.get(message.task)
        reason = self._watcher.revoked(message, job.queue)
        if reason is not None:
            return Revoked(reason=reason)
        if message.expires is not None and has_expired(message, self._clock.time()):
            late = f"not started before it expired at {message.expires:.80}"
            return Dead(reason=Reason.EXPIRED, failure=Failure(error=late), expected=True)
        if self._paused is not None and self._paused.active and self._paused.holds(job):
            return Held()
        if NOT_BEFORE in job.headers:
            early = seconds_early(job, self._clock.time())
            if early:
                return Postponed(delay=early)
        if job.definition is None:
            return self.unknown.outcome(job, self._clock.time())
        return None

    async def _look_up(self, job: Job) -> Outcome | None:
        """Look at the backend; return an outcome if the job must not run because of what it has."""
        if may_be_repeated(job):
            state = await self._watcher.processed_state(job)
            if state is not None:
                return Repeated(state=state)
        return (await superseded(job, self._backend) if is_debounced(job) else None) or (
            await take_results(self._backend, job) if job.takes_results else None
        )

    def _bind(self, job: Job, message: TaskMessage) -> Outcome | None:
        """Validate the job's arguments; return an outcome if they are not valid."""
        definition = job.definition or self._registry[message.task]
        job.max_retries = self._rules.max_retries(job)
        try:
            large, args = len(job.body) > LARGE, message.args
            if job.given is not None:
                large, args = True, {**args, **job.given}
            job.arguments = definition.arguments.keywords(args, large=large)
            if job.given is not None:
                attach_stream(self._backend, job)
        except ArgumentsError as error:
            failure = Failure(error=describe(error))
            return Dead(reason=Reason.INVALID_ARGUMENTS, failure=failure)
        except BaseException as error:  # noqa: BLE001 - raised by a validator of the application
            return self._rules.after_failure(job, definition, error, self._clock.time())
        return None

    def _may_wait(self, job: Job) -> bool:
        """Return whether there is anything for which a job that may run has to wait."""
        limits, slot = self.limits, job.slot
        return (
            (job.definition is not None and job.definition.may_wait)
            or (limits is not None and limits.everywhere)
            or (slot is not None and not slot.held)
        )

    async def _wait(self, job: Job, message: TaskMessage) -> Outcome | None:
        """Wait until the job may run; return an outcome if it must not run then."""
        definition = self._registry[message.task]
        return (
            await self._limit(job, definition, message)
            or await self._collect(job, definition, message)
            or await self._take_slot(job, message)
        )

    async def _limit(
        self, job: Job, definition: TaskDefinition, message: TaskMessage
    ) -> Outcome | None:
        """Wait until the limits of the job allow its start; return an outcome if the wait is long."""
        plan = self.limits.plan(job) if self.limits is not None else None
        if self.limits is None or plan is None:
            return None
        begun = self._clock.time()
        asyncio_task = asyncio.current_task()
        try:
            postponed = await self.limits.hold(job, plan)
        except BaseException as error:  # raised by the function of a limit's key
            if comes_from_outside(error, asyncio_task):
                raise
            return self._rules.after_failure(job, definition, error, self._clock.time())
        if postponed is not None:
            return self._rules.unless_too_old(job, postponed, self._clock.time())
        # It may have been revoked, or have expired, during the wait
        return self._gate(job, message) if self._clock.time() > begun else None

    async def _collect(
        self, job: Job, definition: TaskDefinition, message: TaskMessage
    ) -> Outcome | None:
        """Wait until the batch of the job may run; return an outcome if the job must not run then."""
        batch = definition.options.batch
        if batch is None or not self._runs.in_batch(job):
            return None
        job.part = await self.collector.join(job, definition, batch)
        # It may have been revoked, or have expired, during the wait
        return self._gate(job, message)

    async def _take_slot(self, job: Job, message: TaskMessage) -> Outcome | None:
        """Wait for a slot, in a queue whose tasks take theirs only when they may run."""
        if job.slot is None or job.slot.held or job.part is not None:
            return None
        await job.slot.take()
        return self._gate(job, message)

    async def _run(self, job: Job, asyncio_task: asyncio.Task[Any] | None) -> Outcome:
        """Run the task's function, and classify what it raises."""
        try:
            outcome = await self._runs.run(job)
        except BaseException as error:
            if not job.started or comes_from_outside(error, asyncio_task):
                raise
            return self._failed(job, error)
        if isinstance(outcome, Succeeded):
            return outcome
        return self._rules.unless_too_old(job, outcome, self._clock.time())

    def _failed(self, job: Job, error: BaseException) -> Outcome:
        if job.definition is None:
            raise RuntimeError("a job has a task before it runs")
        if isinstance(error, StoppedIterationError):
            error = error.__cause__ or error
        return self._rules.after_failure(job, job.definition, error, self._clock.time())

    def interrupted(self, job: Job) -> Outcome:
        """Return the outcome of a job whose asyncio task was cancelled.

        Without an outcome that was set for it, the cancellation comes from outside, for example at
        the end of the event loop: the task did not fail, and its message is requeued.
        """
        asyncio_task = asyncio.current_task()
        if asyncio_task is not None:
            asyncio_task.uncancel()
        return job.interruption or Returned()

    async def ended(self, job: Job, *, settled: bool) -> None:
        """Release the job's claim, and remember or forget its signed publish.

        Args:
            job: a job with its outcome.
            settled: whether the outcome is settled.
        """
        await self._watcher.ended(job, settled=settled)
        if self._admission is not None:
            outcome = job.outcome
            comes_again = isinstance(outcome, Returned) or (
                isinstance(outcome, Retried) and outcome.native
            )
            await self._admission.ended(job, done=settled and not comes_again)


def _needs_look_up(job: Job, message: TaskMessage) -> bool:
    """Return whether more than the task and its arguments decides if a job may run."""
    return bool(
        job.headers or job.redelivered or job.nonce or message.options or message.links is not None
    )
