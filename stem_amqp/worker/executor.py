"""One delivery, without AMQP: decode, gate, run, classify. It returns an Outcome and never raises."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from stem_amqp.clock import Clock, parse_timestamp
from stem_amqp.definition import Registry, TaskDefinition
from stem_amqp.errors import (
    ArgumentsError,
    ConfigurationError,
    DecodeError,
    Retry,
    SignatureError,
)
from stem_amqp.message import NOT_BEFORE, REPEATED, TaskMessage, decode
from stem_amqp.middleware import Stack
from stem_amqp.options import DEFAULT_MAX_RETRIES, check_carried
from stem_amqp.results.base import Progress, ResultBackend
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy
from stem_amqp.signing.cipher import unknown_key
from stem_amqp.signing.seal import Seal
from stem_amqp.signing.signer import ENCRYPTION
from stem_amqp.states import Reason, TaskState
from stem_amqp.topology.model import Topology
from stem_amqp.worker.age import age, refused
from stem_amqp.worker.classify import classify, describe, failure_of
from stem_amqp.worker.context import EnqueuesCalls, TaskContext, entered
from stem_amqp.worker.job import Job
from stem_amqp.worker.limits import with_soft_limit, within
from stem_amqp.worker.once import Guards
from stem_amqp.worker.outcome import (
    Dead,
    Failure,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Succeeded,
)
from stem_amqp.worker.processes import ProcessPool
from stem_amqp.worker.quarantine import Quarantine
from stem_amqp.worker.rate import TokenBucket
from stem_amqp.worker.resources import Resources
from stem_amqp.worker.threads import ThreadPool

log = logging.getLogger("stem_amqp.worker")

EARLY_TOLERANCE = 1.0
"""Seconds that a message may come before its time: clocks of machines differ by less than that."""
RATE_WAIT = 5.0
"""Seconds that a rate limit holds a delivery in the worker; a longer wait is left to the broker."""


class Watcher(Protocol):
    """Who hears of a run as it goes on."""

    async def started(self, job: Job) -> None:
        """The task's function is about to be entered."""
        ...

    def progressed(self, job: Job, progress: Progress) -> None:
        """The task reported progress; called in the event loop."""
        ...

    def revoked(self, task_id: str) -> str | None:
        """Return why a task is revoked, or None if it is not."""
        ...

    async def carried_out(self, job: Job) -> TaskState | None:
        """Return what an earlier delivery of the message came to, or None if it is still to run."""
        ...


class Executor:
    """Runs tasks.

    Args:
        registry: the tasks.
        topology: retry policies of queues.
        clock: the time of day.
        threads: where synchronous functions run.
        watcher: who hears of runs.
        quarantine: runs what is suspected; None runs everything here.
        processes: run what asks for a process; None runs everything here.
        resources: opens what tasks depend on.
        middleware: what is around each run.
        app: what contexts enqueue with.
        worker: the worker's name.
        max_age: seconds, the greatest age of a task that is to run again, unless it has its own.
        backend: where guards of side effects are kept.
        result_ttl: seconds that results, and these guards, are kept unless the task says otherwise.
        seal: verifies and decrypts bodies; None takes them as they are.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        topology: Topology,
        clock: Clock,
        threads: ThreadPool,
        watcher: Watcher,
        quarantine: Quarantine | None = None,
        processes: ProcessPool | None = None,
        resources: Resources,
        middleware: Stack,
        app: EnqueuesCalls | None,
        worker: str,
        max_age: float,
        backend: ResultBackend,
        result_ttl: float,
        seal: Seal | None = None,
    ) -> None:
        self.refused = 0
        self._registry = registry
        self._topology = topology
        self._clock = clock
        self._threads = threads
        self._watcher = watcher
        self._quarantine = quarantine
        self._processes = processes
        self._resources = resources
        self._middleware = middleware
        self._app = app
        self._worker = worker
        self._max_age = max_age
        self._backend = backend
        self._result_ttl = result_ttl
        self._seal = seal
        self._buckets: dict[str, TokenBucket] = {}
        self._queue_retries: dict[str, int] = {}

    async def execute(self, job: Job) -> Outcome:
        """Take a job from its bytes to an outcome."""
        try:
            message = job.message = self._read(job)
            instead = self._gate(job, message)
            if instead is not None:
                return instead
            if job.redelivered or job.attempt or REPEATED in job.headers:
                # a retry may be there twice too: its publisher died before its own acknowledgement
                state = await self._watcher.carried_out(job)
                if state is not None:
                    return Repeated(state=state)
            definition = self._registry[message.task]
            kwargs = definition.arguments.unpack(message.args)
            outcome = await self._hold_rate(definition) or await self._run(job, definition, kwargs)
            if isinstance(outcome, Succeeded):
                return outcome
            return refused(outcome, job, self._clock.time(), self._greatest_age(job))
        except SignatureError as error:
            self.refused += 1
            return Dead(reason=Reason.SIGNATURE_INVALID, failure=Failure(error=str(error)))
        except DecodeError as error:
            sealed = self._seal is None and ENCRYPTION in job.headers
            why = unknown_key(job.headers) if sealed else describe(error)
            return Dead(reason=Reason.UNDECODABLE, failure=Failure(error=why))
        except ArgumentsError as error:
            return Dead(reason=Reason.INVALID_ARGUMENTS, failure=Failure(error=describe(error)))
        except asyncio.CancelledError:
            return self.interrupted(job)
        except Exception as error:
            # What a task raises never comes this far: something in the message was not foreseen
            log.exception("task message %s cannot be executed", job.message and job.message.id)
            return Dead(reason=Reason.UNDECODABLE, failure=failure_of(error))

    def _read(self, job: Job) -> TaskMessage:
        body = job.body if self._seal is None else self._seal.open(job.body, job.headers)
        message = decode(body)
        if message.options:
            _check_options(message, job.body)
        return message

    def interrupted(self, job: Job) -> Outcome:
        """Turn the cancellation of a job's asyncio task into its outcome.

        One that nobody gave an outcome comes from outside, from the end of the event loop for
        example: the task did not fail, and its message goes back.
        """
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return job.interruption or Returned()

    def _gate(self, job: Job, message: TaskMessage) -> Outcome | None:
        """Say what is to happen instead of a run, or None if the task may run."""
        reason = self._watcher.revoked(message.id)
        if reason is not None:
            return Revoked(reason=reason)
        job.definition = self._registry.get(message.task)
        if job.definition is None:
            return Dead(
                reason=Reason.UNKNOWN_TASK,
                failure=Failure(error=f"this worker has no task {message.task!r}"),
            )
        now = self._clock.time()
        if message.expires is not None and _moment(message.expires, now + 1) <= now:
            return Dead(
                reason=Reason.EXPIRED,
                failure=Failure(error=f"not started before it expired at {message.expires:.80}"),
            )
        not_before = job.headers.get(NOT_BEFORE)
        if not_before is not None:
            early = _moment(str(not_before), now) - now
            if early > EARLY_TOLERANCE:
                return Postponed(delay=early)
        return None

    async def _hold_rate(self, definition: TaskDefinition) -> Outcome | None:
        if definition.options.rate_limit is None:
            return None
        bucket = self._buckets.get(definition.name)
        if bucket is None:
            bucket = self._buckets[definition.name] = TokenBucket(definition.options.rate_limit)
        now = asyncio.get_running_loop().time()
        wait = bucket.wait(now)
        if wait > RATE_WAIT:
            return Postponed(delay=wait)
        bucket.take(now)
        if wait > 0:
            await asyncio.sleep(wait)
        return None

    async def _run(self, job: Job, definition: TaskDefinition, kwargs: dict[str, Any]) -> Outcome:
        limit: float | None = job.option("time_limit")
        context = job.context = self._context(job, limit)
        if definition.arguments.context_parameter is not None:
            kwargs[definition.arguments.context_parameter] = context
        await self._watcher.started(job)
        job.started = True
        if (
            job.suspect
            and self._quarantine is not None
            and not self._quarantine.explained(job, context.max_retries)
        ):
            return await self._quarantine.run(
                job, limit, lambda progress: self._watcher.progressed(job, progress)
            )
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            if self._processes is not None and definition.options.executor == "process":
                return await self._processes.run(
                    job, limit, lambda progress: self._watcher.progressed(job, progress)
                )
            with entered(context):
                if self._middleware.running:
                    value = await self._middleware.run(
                        context, lambda: self._limited(job, definition, dict(kwargs), context)
                    )
                else:
                    value = await self._limited(job, definition, kwargs, context)
            # Serialized inside the try: a result that cannot be written is a failure of the task
            result = definition.arguments.returns.dump_json(value, warnings=False)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            outcome = classify(
                error,
                attempt=job.attempt,
                max_retries=context.max_retries,
                policy=self._policy(job),
                definition=definition,
                elapsed=age(job, self._clock.time()),
            )
            return self._natively(job, error, outcome) if job.native else outcome
        return Succeeded(result=result, duration=loop.time() - begun)

    async def _limited(
        self, job: Job, definition: TaskDefinition, kwargs: dict[str, Any], context: TaskContext
    ) -> Any:
        limit: float | None = job.option("time_limit")
        soft_limit: float | None = job.option("soft_time_limit")
        if limit is None:
            return await self._call(definition, context, kwargs, soft_limit)
        return await within(self._call(definition, context, kwargs, soft_limit), limit)

    async def _call(
        self,
        definition: TaskDefinition,
        context: TaskContext,
        kwargs: dict[str, Any],
        soft_limit: float | None,
    ) -> Any:
        function = definition.function
        if definition.arguments.dependencies:
            function = self._resources.prepared(definition, context)
        if not definition.is_async:
            return await self._threads.run(lambda: function(**kwargs), soft_limit=soft_limit)
        if soft_limit is None:
            return await function(**kwargs)
        return await with_soft_limit(function(**kwargs), soft_limit)

    def _context(self, job: Job, limit: float | None) -> TaskContext:
        message = job.message
        if message is None:
            raise RuntimeError("a job has a message before it has a context")
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        self._resources.loop = loop
        deadline = None
        if limit is not None:
            deadline = datetime.fromtimestamp(self._clock.time(), UTC) + timedelta(seconds=limit)

        def report(_: TaskContext, progress: Progress) -> None:
            if threading.get_ident() == thread:
                self._watcher.progressed(job, progress)
            else:
                loop.call_soon_threadsafe(self._watcher.progressed, job, progress)

        def guards() -> Guards:
            return Guards(
                backend=self._backend,
                task_id=message.id,
                ttl=job.option("result_ttl") or self._result_ttl,
                loop=loop,
                thread=thread,
            )

        return TaskContext(
            message,
            attempt=job.attempt,
            max_retries=self._max_retries(job),
            queue=job.queue,
            headers=job.headers,
            deadline=deadline,
            worker=self._worker,
            app=self._app,
            report=report,
            guards=guards,
            resources=self._resources,
        )

    def _max_retries(self, job: Job) -> int:
        value = job.option("max_retries")
        if value is not None:
            return int(value)
        known = self._queue_retries.get(job.queue)
        if known is None:
            of_queue = self._topology.queue(job.queue).max_retries
            known = DEFAULT_MAX_RETRIES if of_queue is None else of_queue
            self._queue_retries[job.queue] = known
        return known

    def _natively(self, job: Job, error: BaseException, outcome: Outcome) -> Outcome:
        """Leave a retry to the queue itself, unless task, call or policy asked for a wait of its own."""
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

    def _greatest_age(self, job: Job) -> float:
        own: float | None = job.option("max_age")
        if own is not None:
            return own
        return self._topology.queue(job.queue).max_age or self._max_age


def _check_options(message: TaskMessage, body: bytes) -> None:
    try:
        check_carried(message.options)
    except ConfigurationError as error:
        raise DecodeError(str(error), body) from error


def _cancelled() -> bool:
    """Say whether somebody cancelled this asyncio task: a task may also raise CancelledError."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _moment(text: str, otherwise: float) -> float:
    """Read a time of the wire; one that cannot be read must not stop the task."""
    try:
        return parse_timestamp(text)
    except ValueError:
        log.warning("%.80r is no time; it is ignored", text)
        return otherwise
