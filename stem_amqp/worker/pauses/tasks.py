"""Which tasks are paused, for the executor, which asks before each run."""

from __future__ import annotations

import asyncio

from stem_amqp.directives.model import Kind
from stem_amqp.directives.state import Directives
from stem_amqp.worker.job import Job


class PausedTasks:
    """Answers whether the message of a job must wait because its task is paused.

    Args:
        directives: what holds in this worker.

    Attributes:
        active: whether any task is paused; while none is, no job needs to be checked.
    """

    def __init__(self, directives: Directives) -> None:
        self.active = False
        self._directives = directives
        self._trials: dict[str, asyncio.Future[Job]] = {}

    def refresh(self) -> None:
        """Note that the directives have changed."""
        self.active = any(
            one.target.task is not None
            for kind in (Kind.PAUSE, Kind.BREAKER)
            for one in self._directives.in_effect(kind)
        )

    def pauses(self, task: str, queue: str) -> bool:
        """Return whether a task is paused.

        A pause for some workers only is not obeyed: the others would take back what these move away.

        Args:
            task: the task's name.
            queue: the logical queue of a message.
        """
        directive = self._directives.paused_task(task, queue)
        return directive is not None and not directive.workers

    async def try_one(self, task: str) -> Job:
        """Let one job of a paused task start, and return it when it does.

        Args:
            task: the task's name.
        """
        trial: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._trials[task] = trial
        try:
            return await trial
        finally:
            self._trials.pop(task, None)

    def holds(self, job: Job) -> bool:
        """Return whether the message of a job must wait.

        Args:
            job: a job; the message of an unknown task does not wait here.
        """
        if job.definition is None or not self.pauses(job.definition.name, job.queue):
            return False
        trial = self._trials.get(job.definition.name)
        if trial is None or trial.done():
            return True
        job.tried = True
        trial.set_result(job)
        return False
