"""The pool of child processes in which tasks with ``executor="process"`` run, one at a time in each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator

from stem_amqp.errors import ConfigurationError, ProcessDiedError
from stem_amqp.settings import Settings
from stem_amqp.worker.child import ChildProcess, ChildUnavailableError, OnProgress, try_later
from stem_amqp.worker.job import Job
from stem_amqp.worker.origin import origin_of
from stem_amqp.worker.outcome import Outcome

log = logging.getLogger("stem_amqp.worker")

OVERTIME = 1.0
"""Seconds that a process may go on beyond a task's hard time limit, before it is killed."""


class ProcessPool:
    """Child processes that wait for jobs. They are started when they are needed, and kept.

    A process that dies takes only its own job along; another one is started in its place. One is
    renewed after so many tasks, or when it holds so much memory, as the settings say, and when
    something of a job still goes on in it that nobody waits for.

    Args:
        app: the application, which the processes import.
        settings: its settings: how many processes there are, and how long one lives.
    """

    def __init__(self, app: object, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self.size = settings.pool_processes or available_cores()
        self._free = asyncio.Semaphore(self.size)
        self._idle: list[ChildProcess] = []
        self._origin: str | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def possible(self) -> bool:
        """Whether the application can be imported by another process."""
        if self._origin is None:
            self._origin = origin_of(self._app)
        return self._origin is not None

    def check(self, task: str) -> None:
        """Make sure that a task can run in another process.

        Args:
            task: its name, for the message.

        Raises:
            ConfigurationError: it cannot.
        """
        if not self.possible:
            raise ConfigurationError(
                f"the task {task} is to run in a process (executor='process'), which has to import"
                " the application, but no module has it as an attribute\n"
                "  Write stem = Stem(…) at the top level of a module, and its tasks there too."
            )

    async def run(self, job: Job, limit: float | None, on_progress: OnProgress) -> Outcome:
        """Run a job in a process, as soon as one is free.

        If it is cancelled, the process is killed.

        Args:
            job: the job.
            limit: its hard time limit in seconds, if it has one; waiting for a process is not counted.
            on_progress: called with what the task reports.

        Raises:
            ProcessDiedError: the process died while the job ran in it.
            TimeLimitError: the job went on beyond the limit, and its process was killed.
        """
        async with self._free:
            try:
                async with self._child() as child:
                    return await child.run(job, on_progress, limit=limit, overtime=OVERTIME)
            except ChildUnavailableError as error:
                return try_later(job, error)

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[ChildProcess]:
        """Take a process for a block, and keep it if it can be used again."""
        child = await self._take()
        try:
            yield child
        except ProcessDiedError as error:
            log.warning("the process %d of the pool is gone: %s", child.pid, error)
            raise
        finally:
            if child.alive:
                self._put_back(child)
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
        log.info("the process %d has joined the pool", child.pid)
        return child

    def _put_back(self, child: ChildProcess) -> None:
        why = self._worn_out(child)
        if why is None:
            self._idle.append(child)
        else:
            log.info("the process %d of the pool is renewed: %s", child.pid, why)
            self._end(child)

    def _worn_out(self, child: ChildProcess) -> str | None:
        tasks, memory = self._settings.pool_max_tasks, self._settings.pool_max_memory
        if child.tainted:
            return "a task that outlived its time limit goes on in it"
        if tasks and child.runs >= tasks:
            return f"it has run {child.runs} tasks"
        if memory and child.memory > memory:
            return f"it holds {child.memory / 2**20:.0f} MiB of memory"
        return None

    def _end(self, child: ChildProcess) -> None:
        task = asyncio.create_task(child.kill() if child.tainted else child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all processes. Jobs that still run in some of them must have been cancelled before."""
        idle, self._idle = self._idle, []
        for child in idle:
            self._end(child)
        while self._ending:
            await asyncio.wait(set(self._ending))


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
