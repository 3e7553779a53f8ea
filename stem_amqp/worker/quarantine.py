"""What may have killed a worker runs alone: in a child process, one at a time.

RabbitMQ delivers again whatever a worker held when it died: the task that killed it, and all the
innocent ones that were prefetched with it. Which is which nobody can tell from outside, so after a
few such deliveries each of them runs where it can harm no other. One whose process dies there is a
dead letter, with the signal or the exit code; the others have just run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stem_amqp.errors import ProcessDiedError, TimeLimitError
from stem_amqp.message import ACQUIRED_COUNT, DELIVERY_COUNT
from stem_amqp.results.base import Progress
from stem_amqp.settings import Settings
from stem_amqp.states import Reason
from stem_amqp.transport.base import Delivery
from stem_amqp.worker.child import ChildProcess, ChildUnavailableError, try_later
from stem_amqp.worker.job import Job
from stem_amqp.worker.origin import origin_of
from stem_amqp.worker.outcome import Dead, Failure, Outcome

log = logging.getLogger("stem_amqp.worker")

OVERTIME = 10.0
"""Seconds that a child may run beyond the task's hard time limit, which it enforces itself."""


class Quarantine:
    """Decides what runs alone, and runs it.

    Args:
        app: the application.
        settings: its settings.
    """

    def __init__(self, app: object, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._origin: str | None = None
        self._warned = False
        self._alone = asyncio.Lock()

    def suspects(self, delivery: Delivery) -> bool:
        """Say whether a message was delivered in vain so often that it may be what kills workers.

        What a stopping worker returned, or a consumer timeout took away, was no failure: RabbitMQ 4.3
        and newer do not count it. A classic queue counts nothing: there the first redelivery is enough.

        Args:
            delivery: the delivery.
        """
        after = self._settings.quarantine_after
        if not delivery.redelivered or not after:
            return False
        counted = 0 if ACQUIRED_COUNT in delivery.headers else None
        count = delivery.headers.get(DELIVERY_COUNT, counted)
        if isinstance(count, int) and count < after:
            return False
        return self._can_isolate()

    def explained(self, job: Job, max_retries: int) -> bool:
        """Say whether a job's deliveries may all have been retries, and none of them a crash.

        On a queue with native retries RabbitMQ counts both alike. A task that fails is a dead
        letter when its retries are spent: only what came more often has also killed a worker.

        Args:
            job: the job, which is suspected.
            max_retries: its retries, at most.
        """
        return job.native and job.attempt - max_retries < self._settings.quarantine_after

    async def run(
        self, job: Job, limit: float | None, on_progress: Callable[[Progress], None]
    ) -> Outcome:
        """Run a job in a child process, when no other runs in one.

        Args:
            job: the job, which is suspected.
            limit: its hard time limit in seconds, if it has one.
            on_progress: called with what the task reports.
        """
        if self._origin is None:
            raise RuntimeError("a job is suspected only where it can be isolated")
        async with self._alone:
            log.warning("%s was delivered in vain too often: it runs in its own process", job)
            try:
                return await self._run(self._origin, job, limit, on_progress)
            except (ProcessDiedError, TimeLimitError) as error:
                return Dead(reason=Reason.CRASHED, failure=Failure(error=str(error)))
            except ChildUnavailableError as error:
                return try_later(job, error)

    async def _run(
        self,
        origin: str,
        job: Job,
        limit: float | None,
        on_progress: Callable[[Progress], None],
    ) -> Outcome:
        child = await ChildProcess.start(origin, self._settings)
        try:
            outcome = await child.run(job, on_progress, limit=limit, overtime=OVERTIME)
            await child.end()
            return outcome
        finally:
            await child.kill()

    def _can_isolate(self) -> bool:
        if self._origin is None:
            self._origin = origin_of(self._app)
        if self._origin is None and not self._warned:
            self._warned = True
            log.warning(
                "a message may be what kills this worker, and cannot run in a process of its own:"
                " the application is no attribute of a module. RabbitMQ's delivery limit holds"
            )
        return self._origin is not None
