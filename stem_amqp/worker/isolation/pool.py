"""The pool of child processes for tasks with ``executor="process"``; each runs one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from weakref import WeakSet

from stem_amqp.errors import ConfigurationError, ProcessDiedError
from stem_amqp.outcome import Outcome
from stem_amqp.settings import Settings
from stem_amqp.worker.isolation.child import (
    ChildProcess,
    ChildUnavailableError,
    OnProgress,
    try_later,
)
from stem_amqp.worker.isolation.origin import Origin, origin_of
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

OVERTIME = 1.0
"""Seconds after a task's hard time limit when its process is killed."""


class ProcessPool:
    """Child processes that wait for jobs. They are started when they are needed, and kept.

    If a process dies, only its own job fails, and the next job starts another process. A process is
    replaced after the number of tasks, or above the amount of memory, that the settings define, and
    when a thread of an earlier job still runs in it.

    Args:
        app: the application, which the processes import.
        settings: its settings, with the number of processes and when they are replaced.
    """

    def __init__(self, app: object, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.size = settings.pool_processes or available_cores()
        self._free = asyncio.Semaphore(self.size)
        self._idle: list[ChildProcess] = []
        self._children: WeakSet[ChildProcess] = WeakSet()
        self._origin: Origin | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def possible(self) -> bool:
        """Whether the application can be imported by another process."""
        if self._origin is None:
            self._origin = origin_of(self._app)
        return self._origin is not None

    def check(self, task: str) -> None:
        """Check that a task can run in another process.

        Args:
            task: the task's name, for the message.

        Raises:
            ConfigurationError: no other process can import the application.
        """
        if not self.possible:
            raise ConfigurationError(
                f"task {task} runs in a process (executor='process'), which must import"
                " the application, but no module has it as an attribute\n"
                "  Write stem = Stem(…) at the top level of a module, and its tasks there too."
            )

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Reserve a place for one job for a block; inside of it, `run` need not wait for others."""
        async with self._free:
            yield

    async def run(self, job: Job, limit: float | None, on_progress: OnProgress) -> Outcome:
        """Run a job in a process, and return its outcome; for use inside of `place`.

        If this coroutine is cancelled, the process is killed.

        Args:
            job: the job.
            limit: its hard time limit in seconds, if it has one.
            on_progress: called with the progress that the task reports.

        Raises:
            ProcessDiedError: the process died while the job ran in it.
            TimeLimitError: the job exceeded the limit and `OVERTIME`, and its process was killed.
        """
        try:
            async with self._child() as child:
                return await child.run(job, on_progress, limit=limit, overtime=OVERTIME)
        except ChildUnavailableError as error:
            return try_later(job, error)

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[ChildProcess]:
        """Take a process for a block; then keep it if it can be used again."""
        child = await self._take()
        try:
            yield child
        except ProcessDiedError as error:
            log.warning("the process %d of the pool has ended: %s", child.pid, error)
            raise
        finally:
            if child.alive:
                self._release(child)
            else:
                await child.kill()

    async def _take(self) -> ChildProcess:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await child.kill()
        if self._origin is None:
            raise RuntimeError("a pool is used only after it was checked")
        child = await ChildProcess.start(self._origin, self._settings)
        self._children.add(child)
        log.info("the process %d has joined the pool", child.pid)
        return child

    def _release(self, child: ChildProcess) -> None:
        why = self._replacement_reason(child)
        if why is None:
            self._idle.append(child)
        else:
            log.info("the process %d of the pool is replaced: %s", child.pid, why)
            self._end(child)

    def _replacement_reason(self, child: ChildProcess) -> str | None:
        tasks, memory = self._settings.pool_max_tasks, self._settings.pool_max_memory
        if child.tainted:
            return "a task that exceeded its time limit still runs in it"
        if tasks and child.runs >= tasks:
            return f"it has run {child.runs} tasks"
        if memory and child.memory > memory:
            return f"it holds {child.memory / 2**20:.0f} MiB of memory"
        return None

    def _end(self, child: ChildProcess) -> None:
        task = asyncio.create_task(child.kill() if child.tainted else child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def reload_keys(self) -> None:
        """Tell all processes to read their keys again, also those in which a job runs."""
        for child in tuple(self._children):
            child.reload_keys()

    async def close(self) -> None:
        """End all processes. All jobs must have ended or been cancelled before."""
        idle, self._idle = self._idle, []
        for child in idle:
            self._end(child)
        while self._ending:
            await asyncio.wait(set(self._ending))


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # some systems do not have it
        return os.cpu_count() or 1
