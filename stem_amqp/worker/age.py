"""How old a task is: what ends retries that would otherwise go on for ever.

The age counts from the enqueue; of a delayed task from when it was due, and of a replayed one from
the replay. Retries and snoozes carry that moment along in the header ``stem-since``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp.clock import parse_timestamp, timestamp
from stem_amqp.durations import format_seconds
from stem_amqp.message import NOT_BEFORE, SINCE
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Dead, Failure, Outcome, Postponed, Retried, Snoozed


def age(job: Job, now: float) -> float:
    """Return a task's age in seconds.

    It is 0 where the message does not tell, and where the clock of its producer is ahead of ours.
    """
    born = _born(job)
    return 0.0 if born is None else max(0.0, now - born)


def since(job: Job, now: float) -> dict[str, str]:
    """Return the header that carries the age along, or nothing where the body tells it.

    Args:
        job: a job that is to run again.
        now: seconds since the epoch; the age of a message that tells nothing counts from here.
    """
    if SINCE not in job.headers and NOT_BEFORE not in job.headers and _enqueued(job) is not None:
        return {}
    born = _born(job)
    return {SINCE: timestamp(now if born is None else born)}


def refused(outcome: Outcome, job: Job, now: float, limit: float) -> Outcome:
    """Let a task that is too old die instead of running again.

    Args:
        outcome: what came of its run; a success for example is returned as it is.
        job: the job.
        now: seconds since the epoch.
        limit: seconds, the greatest age.
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
            reason=Reason.TOO_OLD,
            failure=Failure(error=f"{failure.error} ({why})", traceback=failure.traceback),
        )
    return Dead(reason=Reason.TOO_OLD, failure=Failure(error=why))


def _born(job: Job) -> float | None:
    # A time to wait for without a moment to count from is the producer's: ours come with one
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
