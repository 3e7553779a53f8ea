"""Runs messages that may have killed a worker in a child process, one at a time.

RabbitMQ redelivers all messages that a worker held when it died: the one that killed it, and the
others that were prefetched with it. They cannot be distinguished, so after a number of such
deliveries each of them runs in its own process. If that process dies, the message becomes a dead
letter, with the signal or the exit code; the other messages run normally.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stem_amqp.errors import ProcessDiedError, TimeLimitError
from stem_amqp.messages.message import ACQUIRED_COUNT, DELIVERY_COUNT
from stem_amqp.outcome import Dead, Failure, Outcome
from stem_amqp.results.base import Progress
from stem_amqp.settings import Settings
from stem_amqp.states import Reason
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.isolation.child import ChildProcess, ChildUnavailableError, try_later
from stem_amqp.worker.isolation.origin import Origin, origin_of
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

OVERTIME = 10.0
"""Seconds after a task's hard time limit, which the child enforces, when the child is killed."""


class Quarantine:
    """Decides which messages run in quarantine, and runs them.

    Args:
        app: the application.
        settings: its settings.
    """

    def __init__(self, app: object, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._origin: Origin | None = None
        self._warned = False
        self._alone = asyncio.Lock()

    def suspects(self, delivery: Delivery) -> bool:
        """Return whether a message has so many failed deliveries that it may kill workers.

        A message that a stopping worker requeued, or that a consumer timeout returned, has not
        failed: RabbitMQ 4.3 and newer do not count it. A classic queue counts nothing: there the
        first redelivery is enough.

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
        """Return whether all failed deliveries of a job may have been retries, and none a crash.

        On a queue with native retries, RabbitMQ counts both in the same way. A task that fails is
        dead-lettered when its retries are exhausted: a higher count means that it killed a worker.

        Args:
            job: a suspect job.
            max_retries: its maximum number of retries.
        """
        return job.native and job.attempt - max_retries < self._settings.quarantine_after

    async def run(
        self, job: Job, limit: float | None, on_progress: Callable[[Progress], None]
    ) -> Outcome:
        """Run a job in a child process, once no other job is in quarantine; return its outcome.

        Args:
            job: a suspect job.
            limit: its hard time limit in seconds, if it has one.
            on_progress: called with the progress that the task reports.
        """
        if self._origin is None:
            raise RuntimeError("a job is suspected only where it can be isolated")
        async with self._alone:
            log.warning("%s had too many failed deliveries: it runs in its own process", job)
            try:
                return await self._run(self._origin, job, limit, on_progress)
            except (ProcessDiedError, TimeLimitError) as error:
                return Dead(reason=Reason.CRASHED, failure=Failure(error=str(error)))
            except ChildUnavailableError as error:
                return try_later(job, error)

    async def _run(
        self,
        origin: Origin,
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
                "a message may have killed this worker, and cannot run in a process of its own:"
                " the application is not an attribute of a module. RabbitMQ's delivery limit still applies"
            )
        return self._origin is not None
