"""The age of a task, which limits how long it can be retried.

The age counts from the enqueue; for a delayed task from its due time, and for a replayed one from
the replay. Retries and snoozes carry that time along in the header ``stem-since``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stem_amqp.clock import parse_timestamp, timestamp
from stem_amqp.durations import format_seconds
from stem_amqp.messages.message import NOT_BEFORE, SINCE
from stem_amqp.outcome import Dead, Failure, Outcome, Postponed, Retried, Snoozed
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job


def age(job: Job, now: float) -> float:
    """Return a task's age in seconds.

    It is 0 if the message has no time, or if the clock of its producer is ahead of this one.
    """
    begin = _start_of_age(job)
    return 0.0 if begin is None else max(0.0, now - begin)


def since(job: Job, now: float) -> dict[str, str]:
    """Return the header that carries the age along; empty if the body has the time.

    Args:
        job: a job that runs again.
        now: seconds since the epoch; the age of a message without a time counts from here.
    """
    if SINCE not in job.headers and NOT_BEFORE not in job.headers and _enqueued(job) is not None:
        return {}
    begin = _start_of_age(job)
    return {SINCE: timestamp(now if begin is None else begin)}


def unless_too_old(outcome: Outcome, job: Job, now: float, limit: float) -> Outcome:
    """Return an outcome, or a dead letter if the task would run again and is too old.

    Args:
        outcome: the outcome; one without a further run, such as a success, is returned unchanged.
        job: the job.
        now: seconds since the epoch.
        limit: the maximum age in seconds.
    """
    if not isinstance(outcome, (Retried, Snoozed, Postponed)):
        return outcome
    grown = age(job, now)
    if grown < limit:
        return outcome
    why = f"too old to run again: {format_seconds(grown)}, max_age is {format_seconds(limit)}"
    if isinstance(outcome, Retried):
        failure = outcome.failure
        return Dead(
            reason=Reason.TOO_OLD, failure=replace(failure, error=f"{failure.error} ({why})")
        )
    return Dead(reason=Reason.TOO_OLD, failure=Failure(error=why))


def _start_of_age(job: Job) -> float | None:
    # `NOT_BEFORE` without `SINCE` comes from the producer: workers always set both
    for name in (SINCE, NOT_BEFORE):
        moment = _moment(job.headers, name)
        if moment is not None:
            return moment
    return _enqueued(job)


def _enqueued(job: Job) -> float | None:
    return job.message.enqueued_time if job.message is not None else None


def _moment(headers: Mapping[str, Any], name: str) -> float | None:
    value = headers.get(name)
    if not isinstance(value, str):
        return None
    try:
        return parse_timestamp(value)
    except ValueError:
        return None
