"""Runs a task's function in the event loop, in a thread or in another process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from inspect import iscoroutine
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.context.batch import BatchContext, entered_batch
from stem_amqp.context.context import EnqueuesCalls, TaskContext, make_current, restore_current
from stem_amqp.context.once import Guards
from stem_amqp.outcome import Outcome, Postponed, Succeeded
from stem_amqp.results.base import Progress
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.batching.collector import Collector, Key
from stem_amqp.worker.batching.gathering import Part
from stem_amqp.worker.classify import UnwritableResultError
from stem_amqp.worker.isolation.pool import ProcessPool
from stem_amqp.worker.isolation.quarantine import Quarantine
from stem_amqp.worker.job import Job, TimeLimits
from stem_amqp.worker.running.fork import leave
from stem_amqp.worker.running.limits import with_soft_limit, within
from stem_amqp.worker.running.resources import Resources
from stem_amqp.worker.running.threads import ThreadPool, ThreadUnavailableError
from stem_amqp.worker.running.watcher import Watcher

log = logging.getLogger("stem_amqp.worker")

LATER = 30.0
"""Seconds until a task for which no thread could be started is delivered again."""


class Runs:
    """Runs the functions of tasks.

    Args:
        blueprint: the application.
        connected: its open connections.
        threads: run synchronous functions.
        watcher: observes runs.
        quarantine: runs suspect jobs; None runs them like others.
        processes: run tasks with ``executor="process"``; None runs them here.
        resources: opens the dependencies of tasks.
        app: enqueues for the contexts of tasks.
        worker: the worker's name.
        alone: whether each message of a batch task is a batch of its own, as in a child process.

    Attributes:
        collector: collects the messages of batch tasks.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        *,
        threads: ThreadPool,
        watcher: Watcher,
        quarantine: Quarantine | None = None,
        processes: ProcessPool | None = None,
        resources: Resources,
        app: EnqueuesCalls | None,
        worker: str,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self._clock = connected.transport.clock
        self.collector = Collector(self._clock, self._call_batch)
        self._threads = threads
        self._watcher = watcher
        self._quarantine = quarantine
        self._processes = processes
        self._resources = resources
        self._middleware = blueprint.middleware
        self._telemetry = blueprint.telemetry
        self._app = app
        self._worker = worker
        self._backend = connected.backend
        self._result_ttl = blueprint.settings.result_ttl
        self._pid = os.getpid()

    def run(self, job: Job) -> Coroutine[Any, Any, Outcome]:
        """Run a job once a thread or process is free; the run starts only then.

        Args:
            job: the job, with its task and its arguments.

        Raises:
            BaseException: the exception of the task or of its middleware.
        """
        definition = job.definition
        if definition is None:
            raise RuntimeError("a job has a task before it runs")
        if job.suspect and self._quarantine is not None and self._is_suspect(job):
            return self._run_elsewhere(job, definition, self._quarantine)
        if self._processes is not None and definition.options.executor == "process":
            run = self._run_elsewhere(job, definition, self._processes)
            return self._in_place(job, self._processes.place(), run)
        run = self._run_here(job, definition)
        if definition.is_async or definition.collected is not None:
            return run
        return self._in_place(job, self._threads.place(), run)

    def in_batch(self, job: Job) -> bool:
        """Return whether a job of a batch task runs with others; one in quarantine runs alone."""
        return not self._alone and not self._is_suspect(job)

    def _is_suspect(self, job: Job) -> bool:
        quarantine = self._quarantine
        return (
            job.suspect
            and quarantine is not None
            and not quarantine.explained(job, job.max_retries)
        )

    async def _in_place(
        self,
        job: Job,
        place: AbstractAsyncContextManager[None],
        run: Coroutine[Any, Any, Outcome],
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with place:
                job.waited = loop.time() - begun
                return await run
        finally:
            run.close()  # if it was cancelled before there was a place

    async def _run_elsewhere(
        self, job: Job, definition: TaskDefinition, where: Quarantine | ProcessPool
    ) -> Outcome:
        limit, _ = job.time_limits
        self._make_context(job, definition, limit)
        await self._watcher.started(job)
        job.started = job.in_child = True
        job.begun = time.monotonic()
        for report in self._telemetry.sent_to_child:
            report(job)
        try:
            return await where.run(
                job, limit, lambda progress: self._watcher.progressed(job, progress)
            )
        finally:
            job.duration = time.monotonic() - job.begun

    async def _run_here(self, job: Job, definition: TaskDefinition) -> Outcome:
        limits = job.time_limits
        context = self._make_context(job, definition, limits[0])
        await self._watcher.started(job)
        job.started = True
        job.begun = time.monotonic()
        token = make_current(context)
        try:
            if self._middleware.running:
                value = await self._in_middleware(job, definition, context, limits)
            else:
                value = await self._limited(job, definition, context, job.arguments, limits)
        except ThreadUnavailableError as error:
            log.error("%s has not run: %s; trying again in %g s", job, error, LATER)  # noqa: TRY400
            return Postponed(delay=LATER)
        finally:
            job.duration = time.monotonic() - job.begun
            context.end_run()
            restore_current(token)
        return Succeeded(result=_written(definition, value), duration=job.duration)

    def _in_middleware(
        self, job: Job, definition: TaskDefinition, context: TaskContext, limits: TimeLimits
    ) -> Coroutine[Any, Any, Any]:
        """Call the function with the middleware around it."""
        return self._middleware.run(
            context, lambda: self._limited(job, definition, context, dict(job.arguments), limits)
        )

    def _limited(
        self,
        job: Job,
        definition: TaskDefinition,
        context: TaskContext,
        kwargs: dict[str, Any],
        limits: TimeLimits,
    ) -> Coroutine[Any, Any, Any]:
        """Call the function within its time limits."""
        if definition.collected is not None:
            part = job.part or self.collector.alone(job, definition)
            return part.outcome(kwargs[definition.collected.argument], context)
        return self._called_within(definition, context, kwargs, limits)

    def _called_within(
        self,
        definition: TaskDefinition,
        context: TaskContext | BatchContext,
        kwargs: dict[str, Any],
        limits: TimeLimits,
    ) -> Coroutine[Any, Any, Any]:
        limit, soft_limit = limits
        if definition.is_async:
            call = self._call_async(definition, context, kwargs, soft_limit)
        else:
            call = self._call_in_thread(definition, context, kwargs, soft_limit)
        return call if limit is None else within(call, limit)

    async def _call_batch(self, definition: TaskDefinition, key: Key, parts: Sequence[Part]) -> Any:
        """Call the function of a batch task for several messages."""
        collected = definition.collected
        if collected is None:
            raise RuntimeError("only a batch task is called for several messages")
        context = BatchContext([part.context for part in parts])
        kwargs: dict[str, Any] = {collected.items: [part.item for part in parts]}
        if collected.context is not None:
            kwargs[collected.context] = context
        limits = key.time_limit, key.soft_time_limit
        with entered_batch(context):
            if definition.is_async:
                return await self._called_within(definition, context, kwargs, limits)
            async with self._threads.place():
                return await self._called_within(definition, context, kwargs, limits)

    async def _call_async(
        self,
        definition: TaskDefinition,
        context: TaskContext | BatchContext,
        kwargs: dict[str, Any],
        soft_limit: float | None,
    ) -> Any:
        function = definition.function
        if definition.dependencies:
            function = self._resources.prepared(definition, context)
        try:
            if soft_limit is None:
                value = await function(**kwargs)
            else:
                value = await with_soft_limit(function(**kwargs), soft_limit)
        except BaseException as error:
            self._leave_if_forked(error)
            raise
        self._leave_if_forked(None)
        return value

    async def _call_in_thread(
        self,
        definition: TaskDefinition,
        context: TaskContext | BatchContext,
        kwargs: dict[str, Any],
        soft_limit: float | None,
    ) -> Any:
        function = definition.function
        if definition.dependencies:
            function = self._resources.prepared(definition, context)
        value = await self._threads.run(
            lambda: self._call_here(function, kwargs, context), soft_limit=soft_limit
        )
        # An async function under a plain decorator looks like a plain function
        return await self._awaited(value) if iscoroutine(value) else value

    def _call_here(
        self,
        function: Callable[..., Any],
        kwargs: dict[str, Any],
        context: TaskContext | BatchContext,
    ) -> Any:
        """Call a synchronous function in the current thread."""
        context.enter_thread()
        try:
            value = function(**kwargs)
        except BaseException as error:
            self._leave_if_forked(error)
            raise
        finally:
            context.leave_thread()
        self._leave_if_forked(None)
        return value

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            value = await coroutine
        except BaseException as error:
            self._leave_if_forked(error)
            raise
        self._leave_if_forked(None)
        return value

    def _leave_if_forked(self, error: BaseException | None) -> None:
        if os.getpid() != self._pid:
            leave(error)

    def _make_context(
        self, job: Job, definition: TaskDefinition, limit: float | None
    ) -> TaskContext:
        """Create the job's context, and add it to the arguments if the function has it as one."""
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

        context = job.context = TaskContext(
            message,
            attempt=job.attempt,
            max_retries=job.max_retries,
            queue=job.queue,
            headers=job.headers,
            deadline=deadline,
            worker=self._worker,
            app=self._app,
            report=report,
            guards=guards,
            resources=self._resources,
        )
        if definition.arguments.context_parameter is not None:
            job.arguments[definition.arguments.context_parameter] = context
        return context


def _written(definition: TaskDefinition, value: Any) -> bytes:
    try:
        return definition.arguments.returns.write(value)
    except Exception as error:
        raise UnwritableResultError(definition.name) from error
