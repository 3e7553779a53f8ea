"""Log lines for tasks that failed for good: errors with their traceback, and expected ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from stem_amqp.outcome import Dead, Failure
from stem_amqp.states import Reason
from stem_amqp.topology.names import REJECTED
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.logs import FIELDS
from stem_amqp.worker.report.quota import Quota
from stem_amqp.worker.running.failure import has_short_chain
from stem_amqp.worker.running.interruption import comes_from_outside

log = logging.getLogger("stem_amqp.worker.failures")
"""A logger of its own, so that error trackers with an integration of their own can ignore its lines."""

REFUSALS_LOGGED = 20
"""The maximum number of log lines about refused messages in `REFUSAL_PERIOD`."""
REFUSAL_PERIOD = 10.0
"""The length of a period in seconds."""


class ProcessRunError(Exception):
    """A run in a child process failed; a note has the traceback, which exists only as text."""


class FailureLog:
    """Writes a line for each dead letter.

    An expected end is no ERROR: see `Dead.expected`. Any client that may publish can cause lines about
    messages without a valid signature: so their number is limited.
    """

    def __init__(self) -> None:
        self._refusals = Quota(REFUSALS_LOGGED, REFUSAL_PERIOD)

    def note(self, job: Job, outcome: Dead) -> None:
        """Write the line of a dead letter."""
        # The reason is part of the template: error trackers group lines by it
        reason = outcome.reason.value
        if not job.untrusted:
            text = f"%s is dead-lettered to %s.dlq: {reason}: %s"
            write(level_of(outcome), job, outcome.failure, text, job.queue, outcome.failure.error)
        elif self._refusals.take():
            skipped = self._refusals.skipped()
            more = f" ({skipped} more were not logged)" if skipped else ""
            text = f"%s is refused and dead-lettered to {REJECTED}: {reason}: %s%s"
            write(logging.ERROR, job, outcome.failure, text, outcome.failure.error, more)


def level_of(outcome: Dead) -> int:
    """Return the level of a dead letter's line."""
    if outcome.reason in {Reason.EXPIRED, Reason.WORKER_FAILED}:
        # The work is not done, but no code failed; the worker's own failure is already an ERROR
        return logging.WARNING
    return logging.INFO if outcome.expected else logging.ERROR


def write(level: int, job: Job, failure: Failure, text: str, *values: object) -> None:
    """Write a line about a job, with the fields of its task, and at ERROR with the exception.

    Args:
        level: the line's level.
        job: the job.
        failure: how its run failed.
        text: the template of the line; its first value is the job.
        *values: the other values of the template.
    """
    if not log.isEnabledFor(level):
        return
    error = exception_of(failure) if level >= logging.ERROR else None
    fields = fields_of(job)
    try:
        log.log(level, text, job, *values, exc_info=error, extra=fields)
    except BaseException as broken:
        if comes_from_outside(broken, asyncio.current_task()):
            raise
        # A handler reads the exception, which is code of the application and may fail in any way
        log.log(level, text, job, *values, extra=fields)


def fields_of(job: Job) -> dict[str, Any]:
    """Return the fields of a record about a job that does not run any more; empty if it is unread."""
    message = job.message
    if message is None:
        return {}
    values = (message.id, message.task, job.attempt, message.meta.get("request_id"))
    return dict(zip(FIELDS, values, strict=True))


def exception_of(failure: Failure) -> BaseException | None:
    """Return the exception of a failure for log records and error trackers; None without one.

    For a run in another process, and for an exception with a very long chain, it is a `ProcessRunError`
    or an exception of that type with the traceback as text.

    Args:
        failure: how a run failed.
    """
    error = failure.exception
    if error is not None and has_short_chain(error):
        return error
    if not failure.traceback:
        return None
    described = ProcessRunError(failure.error)
    described.add_note(failure.traceback.rstrip())
    return described
