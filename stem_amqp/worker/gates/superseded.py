"""Debounced calls: a worker runs a message only if no later equal call supersedes it."""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.errors import BackendError, BackendUnavailableError, ConfigurationError
from stem_amqp.outcome import Revoked
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.debounce import Mark, read_mark
from stem_amqp.tasks.equal_calls.debounce import DEBOUNCE, Place
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")


def is_debounced(job: Job) -> bool:
    """Return whether a job is the first run of a debounced call; a retry or a replay runs in any case."""
    message = job.message
    return (
        message is not None and DEBOUNCE in message.options and not job.attempt and not job.replay
    )


async def superseded(job: Job, backend: ResultBackend) -> Revoked | None:
    """Return an outcome if a later equal call supersedes a job; one look-up in the backend.

    While the backend is unavailable, the look-up is repeated without a limit. If it cannot say which call
    is the latest, the job runs: a run too many is better than one too few.

    Args:
        job: a debounced job with its message.
        backend: the result backend.
    """
    message = job.message
    if message is None or not backend.keeps_keys:
        return None
    place = Place.read(message.options[DEBOUNCE])

    def waiting(state: tenacity.RetryCallState) -> None:
        log.warning(
            "%s is debounced, and it is not known yet whether it is the latest call: %s",
            job,
            state.outcome.exception() if state.outcome else None,
        )

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BackendUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
        before_sleep=waiting,
    )
    try:
        found: tuple[bytes | None, Mark | None] = await retrying(read_mark, backend, place.key)
    except (BackendError, ConfigurationError) as error:
        log.warning("%s is debounced, and runs without a look at later calls: %s", job, error)
        return None
    mark = found[1]
    later = None if mark is None else mark.superseding(place, message.id)
    return None if later is None else Revoked(reason=f"superseded by {later}")
