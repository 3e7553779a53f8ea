"""Looks up whether an earlier delivery of the same message was processed.

A worker that dies between the last step of a task and its acknowledgement leaves a message that the
broker delivers again. If the backend stores states, the record shows which steps were completed,
because a state is stored only after what follows it is confirmed: a stored ``retrying`` means that
the retry is on the broker, a stored ``failed`` that the dead letter is.
"""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.clock import parse_timestamp
from stem_amqp.errors import BackendUnavailableError, ResultSignatureError
from stem_amqp.messages.message import NOT_BEFORE, REPEATED, SINCE
from stem_amqp.results.base import ResultBackend, TaskRecord
from stem_amqp.states import TaskState
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

_ROUNDING = 0.01
"""Seconds by which a time on the wire, in milliseconds, may differ from the stored one. A task that
runs twice is better than one that never runs."""


def may_be_repeated(job: Job) -> bool:
    """Return whether the same message may exist twice, by accident or because a client copied it.

    This includes a message that a worker or a replay has published again: its publisher may have
    died before it acknowledged the original, or the confirm was late and it published twice.

    Args:
        job: the job.
    """
    headers = job.headers
    again = REPEATED in headers or SINCE in headers
    return bool(job.redelivered or job.attempt or again or job.nonce)


async def processed_state(backend: ResultBackend, job: Job) -> TaskState | None:
    """Return the state that an earlier delivery led to, or None if the task must run.

    While the backend is unavailable, this is repeated without a limit: a run now might be the
    second one, and its result could not be stored either.

    Args:
        backend: a backend that stores states.
        job: a redelivered job with its message.
    """
    if job.message is None:
        return None
    try:
        record = await _record(backend, job, job.message.id)
    except ResultSignatureError as error:
        log.warning("%s: its stored record is ignored: %s", job, error)
        return None
    if record is None or not _is_past(record, job):
        return None
    return record.state


async def _record(backend: ResultBackend, job: Job, task_id: str) -> TaskRecord | None:
    """Return the record of a task; repeat this as long as the backend is unavailable."""
    try:
        return await backend.get(task_id)
    except BackendUnavailableError as error:
        _say_unknown(job, error)
    # Only now: `AsyncRetrying` costs more than a look-up, and every signed task is looked up
    record: TaskRecord | None = await tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BackendUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
        before_sleep=lambda state: _say_unknown(
            job, state.outcome.exception() if state.outcome else None
        ),
    )(backend.get, task_id)
    return record


def _say_unknown(job: Job, error: BaseException | None) -> None:
    log.warning("%s was redelivered, and it is not known yet whether it has run: %s", job, error)


def _is_past(record: TaskRecord, job: Job) -> bool:
    """Return whether a record was written after this message was processed."""
    if record.state is TaskState.SUCCEEDED:
        return True
    if record.replay != job.replay:
        # A record from before this replay says nothing about it; a later replay has replaced it
        return record.replay > job.replay
    if record.state.final:
        return True
    if record.attempt != job.attempt:
        return record.attempt > job.attempt
    if record.state is TaskState.RUNNING:
        return _is_copy(job)
    if record.state is TaskState.RETRYING:
        # The retry has the next attempt number. On a queue with native retries, this is the retry
        return not job.native
    if record.state is TaskState.SNOOZED and record.next_run is not None:
        # The message that the snooze published has the same attempt, but its own `NOT_BEFORE`
        return _not_before(job) < record.next_run - _ROUNDING
    return False


def _is_copy(job: Job) -> bool:
    """Return whether a job is a copy of a task's first message, so that another copy is running.

    The producer marks a copy. This one was not delivered before, so the record is not about its own
    run; and only the first message has attempt 0 and was never published again by a worker.
    """
    headers = job.headers
    first = not job.attempt and not job.replay and SINCE not in headers
    return REPEATED in headers and first and not job.redelivered


def _not_before(job: Job) -> float:
    try:
        return parse_timestamp(str(job.headers[NOT_BEFORE]))
    except (KeyError, ValueError):
        return 0.0
