"""Sends signals and writes log lines about tasks, once their outcomes are settled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, assert_never

from stem_amqp.clock import Clock
from stem_amqp.durations import format_seconds
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import (
    Dead,
    Held,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.results.base import Progress
from stem_amqp.settings import LogSuccesses
from stem_amqp.signals import Event, Signal, Signals
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.digest import Digest
from stem_amqp.worker.report.failure_log import FailureLog
from stem_amqp.worker.report.success_log import SuccessLog

log = logging.getLogger("stem_amqp.worker")


class Announcer:
    """Reports what happens to jobs: to exporters, as signals, and as log lines.

    Args:
        signals: the application's signals.
        telemetry: the application's exporters.
        clock: the time of day.
        worker: the worker's name.
        log_successes: which successes are logged at INFO.
    """

    def __init__(
        self,
        signals: Signals,
        telemetry: Telemetry,
        clock: Clock,
        worker: str,
        *,
        log_successes: LogSuccesses = LogSuccesses.LIMITED,
    ) -> None:
        self._signals = signals
        self._telemetry = telemetry
        self._clock = clock
        self._worker = worker
        self._failures = FailureLog()
        self._successes = SuccessLog(log_successes)
        self._digest = Digest()

    def close(self) -> None:
        """Log the counts of lines that were not written."""
        self._digest.close()
        self._successes.close()

    async def received(self, job: Job) -> None:
        """Announce that a message was received; its body is not decoded yet."""
        for report in self._telemetry.received:
            report(job)
        if self._signals.task_received.active:
            await self._send(self._signals.task_received, job)

    async def started(self, job: Job) -> None:
        """Send the signal that a run starts."""
        await self._send(self._signals.task_started, job)

    async def progressed(self, job: Job, progress: Progress) -> None:
        """Send the signal of progress that a task reported."""
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
        """Announce that an outcome is settled.

        Args:
            job: the job.
            outcome: its outcome.
            now: the time from which delays count, when settling began; seconds since the epoch.
        """
        for report in self._telemetry.settled:
            report(job, outcome, now)
        match outcome:
            case Succeeded():
                self._successes.note(job, outcome)
                if self._signals.task_succeeded.active:
                    fields = {"result": outcome.result, "duration": outcome.duration}
                    await self._send(self._signals.task_succeeded, job, fields)
            case Retried():
                await self._retried(job, outcome, now)
            case Snoozed():
                line = f"{job} snoozed for {format_seconds(outcome.delay)}"
                self._digest.note(_name(job), "snoozes", line)
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
            case Postponed() | Held() | Repeated() | Returned():
                self._without_signal(job, outcome)
            case _:
                assert_never(outcome)

    def _without_signal(self, job: Job, outcome: Postponed | Held | Repeated | Returned) -> None:
        match outcome:
            case Postponed():
                log.debug("%s postponed for %s", job, format_seconds(outcome.delay))
            case Held():
                line = f"{job} is paused: its message waits in a queue of its own"
                self._digest.note(_name(job), "held messages", line)
            case Repeated():
                state = outcome.state.value if outcome.state is not None else "completed"
                log.info(
                    "%s is a repeated delivery and does not run again, earlier outcome: %s",
                    job,
                    state,
                )
            case Returned():
                log.info("%s was requeued in queue %s", job, job.queue)

    async def held(self, job: Job, outcome: Dead, error: str) -> None:
        """Announce that a dead-letter queue has no room for a dead letter, which is tried again."""
        for report in self._telemetry.dead_letter_refused:
            report(job, outcome, error)
        fields = {"reason": outcome.reason.value, "error": error}
        await self._send(self._signals.task_dead_letter_refused, job, fields)

    async def refused(self, job: Job, error: str) -> None:
        """Announce that the broker refused what follows a run, so that the message was rejected."""
        for report in self._telemetry.settle_refused:
            report(job, error)
        await self._send(self._signals.task_settle_refused, job, {"error": error})

    async def unreplied(self, job: Job, state: TaskState, error: str) -> None:
        """Announce that a reply to the producer was given up."""
        for report in self._telemetry.reply_given_up:
            report(job, state, error)
        fields = {"state": state.value, "error": error}
        await self._send(self._signals.task_reply_given_up, job, fields)

    async def _retried(self, job: Job, outcome: Retried, now: float) -> None:
        self._digest.note(
            _name(job),
            "retries",
            f"{job} failed ({outcome.failure.error}), retry {job.attempt + 1} of"
            f" {job.context.max_retries if job.context else 0} in {format_seconds(outcome.delay)}",
        )
        fields = {"error": outcome.failure.error, **_later(outcome.delay, now)}
        await self._send(self._signals.task_retried, job, fields)

    async def _dead(self, job: Job, outcome: Dead) -> None:
        self._failures.note(job, outcome)
        fields = {
            "reason": outcome.reason.value,
            "error": outcome.failure.error,
            "expected": outcome.expected,
        }
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


def _name(job: Job) -> str:
    return "an unread message" if job.message is None else f"task {job.message.task}"


def _later(delay: float, now: float) -> dict[str, Any]:
    return {"delay": delay, "next_run": now + delay}
