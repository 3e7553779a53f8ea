"""Whether an earlier delivery of the same message was carried out: once is enough.

A worker that dies between the last step of a task and its acknowledgement leaves a message that the
broker delivers again. Where the backend stores states, the record says how far the worker had come,
because each state is stored only after what follows it is confirmed: a stored ``retrying`` means
that the retry is on the broker, a stored ``failed`` that the dead letter is.
"""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.clock import parse_timestamp
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.message import NOT_BEFORE
from stem_amqp.results.base import ResultBackend, TaskRecord
from stem_amqp.states import TaskState
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

_ROUNDING = 0.01
"""Seconds by which a time on the wire, in milliseconds, may differ from the stored one. In doubt a
task runs twice rather than never."""


async def carried_out(backend: ResultBackend, job: Job) -> TaskState | None:
    """Return what an earlier delivery came to, or None if the task is still to run.

    While the backend is away it asks again and again: a run now might be the second one, and its
    result could not be stored either.

    Args:
        backend: a backend that stores states.
        job: a redelivered job with its message.
    """
    if job.message is None:
        return None
    task_id = job.message.id
    record: TaskRecord | None = await tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BackendUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
        before_sleep=lambda state: log.warning(
            "%s came again, and whether it has run cannot be known yet: %s",
            job,
            state.outcome and state.outcome.exception(),
        ),
    )(backend.get, task_id)
    if record is None or not _is_past(record, job):
        return None
    return record.state


def _is_past(record: TaskRecord, job: Job) -> bool:
    """Say whether a record was written after this very message was carried out."""
    if record.state is TaskState.SUCCEEDED:
        return True
    if record.replay != job.replay:
        # an earlier life of the task says nothing of this one; a later one has replaced it
        return record.replay > job.replay
    if record.state.final:
        return True
    if record.attempt != job.attempt:
        return record.attempt > job.attempt
    if record.state is TaskState.RETRYING:
        # The retry has the next attempt's number. Where the queue itself keeps it, this is it
        return not job.native
    if record.state is TaskState.SNOOZED and record.next_run is not None:
        # what the snooze has published has the same attempt, and a time that the original has not
        return _not_before(job) < record.next_run - _ROUNDING
    return False


def _not_before(job: Job) -> float:
    try:
        return parse_timestamp(str(job.headers[NOT_BEFORE]))
    except (KeyError, ValueError):
        return 0.0
