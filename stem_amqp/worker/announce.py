"""Tells signals and the log what became of a task, once that is settled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, assert_never

from stem_amqp.clock import Clock
from stem_amqp.durations import format_seconds
from stem_amqp.results.base import Progress
from stem_amqp.signals import Event, Signal, Signals
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import (
    Dead,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)

log = logging.getLogger("stem_amqp.worker")


class Announcer:
    """Tells the signals of tasks.

    Args:
        signals: the application's signals.
        clock: the time of day.
        worker: the worker's name.
    """

    def __init__(self, signals: Signals, clock: Clock, worker: str) -> None:
        self._signals = signals
        self._clock = clock
        self._worker = worker

    async def received(self, job: Job) -> None:
        """A message was taken from its queue; its body is not decoded yet."""
        await self._send(self._signals.task_received, job)

    async def started(self, job: Job) -> None:
        """A run begins."""
        await self._send(self._signals.task_started, job)

    async def progressed(self, job: Job, progress: Progress) -> None:
        """The task reported progress."""
        await self._send(
            self._signals.task_progress,
            job,
            {
                "fraction": progress.fraction,
                "message": progress.message,
                "data": progress.data,
            },
        )

    async def settled(self, job: Job, outcome: Outcome, now: float) -> None:
        """An outcome is settled.

        Args:
            job: the job.
            outcome: what came of it.
            now: when its settling began, from which delays count.
        """
        match outcome:
            case Succeeded():
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("%s succeeded in %.3f s", job, outcome.duration)
                await self._send(
                    self._signals.task_succeeded,
                    job,
                    {"result": outcome.result, "duration": outcome.duration},
                )
            case Retried():
                await self._retried(job, outcome, now)
            case Snoozed():
                log.info("%s snoozed for %s", job, format_seconds(outcome.delay))
                await self._send(
                    self._signals.task_snoozed,
                    job,
                    {**_later(outcome.delay, now), "reason": outcome.reason},
                )
            case Dead():
                await self._dead(job, outcome)
            case Revoked():
                log.info("%s was revoked: %s", job, outcome.reason)
                await self._send(self._signals.task_revoked, job, {"reason": outcome.reason})
            case Postponed():
                log.debug("%s postponed for %s", job, format_seconds(outcome.delay))
            case Repeated():
                log.info(
                    "%s came again, and is not run: it was %s before", job, outcome.state.value
                )
            case Returned():
                log.info("%s returned to queue %s", job, job.queue)
            case _:
                assert_never(outcome)

    async def held(self, job: Job, outcome: Dead, error: str) -> None:
        """A dead letter found no room; it is tried again."""
        fields = {"reason": outcome.reason.value, "error": error}
        await self._send(self._signals.task_dead_letter_refused, job, fields)

    async def refused(self, job: Job, error: str) -> None:
        """What is to follow a run is refused; its message was rejected."""
        await self._send(self._signals.task_settle_refused, job, {"error": error})

    async def unreplied(self, job: Job, state: TaskState, error: str) -> None:
        """A reply to the producer was given up."""
        fields = {"state": state.value, "error": error}
        await self._send(self._signals.task_reply_given_up, job, fields)

    async def _retried(self, job: Job, outcome: Retried, now: float) -> None:
        log.info(
            "%s failed (%s), retry %d of %d in %s",
            job,
            outcome.failure.error,
            job.attempt + 1,
            job.context.max_retries if job.context else 0,
            format_seconds(outcome.delay),
        )
        fields = {"error": outcome.failure.error, **_later(outcome.delay, now)}
        await self._send(self._signals.task_retried, job, fields)

    async def _dead(self, job: Job, outcome: Dead) -> None:
        log.warning(
            "%s is dead-lettered to %s.dlq: %s: %s",
            job,
            job.queue,
            outcome.reason.value,
            outcome.failure.error,
        )
        fields = {"reason": outcome.reason.value, "error": outcome.failure.error}
        if outcome.reason is Reason.EXPIRED:
            await self._send(self._signals.task_expired, job, fields)
        else:
            await self._send(self._signals.task_failed, job, fields)
        await self._send(self._signals.task_dead_lettered, job, fields)

    async def _send(
        self, signal: Signal, job: Job, fields: Mapping[str, Any] | None = None
    ) -> None:
        if not signal.active:
            return
        await signal.send(
            Event(
                signal=signal.name,
                at=self._clock.time(),
                task=job.message.task if job.message else job.type,
                id=job.message.id if job.message else job.correlation_id,
                queue=job.queue,
                attempt=job.attempt,
                meta=job.message.meta if job.message else {},
                worker=self._worker,
                fields=fields or {},
            )
        )


def _later(delay: float, now: float) -> dict[str, Any]:
    return {"delay": delay, "next_run": now + delay}
