"""Decides which of several copies of a message runs: the one that claims the attempt.

A publish whose confirm does not arrive in time is repeated, and then the broker may have the
message twice: two copies of one retry, with the same delay, arrive at the same time. The task's
record cannot distinguish them while neither has run. So each message that may be a copy claims a
key for its attempt before it runs, with a token of its publish. The other copy is only
acknowledged: the copy with the claim stays on the broker until its worker settles it. A redelivery
of it has the same token, and so keeps the claim.
"""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.errors import BackendError, BackendUnavailableError, ConfigurationError
from stem_amqp.messages.message import NOT_BEFORE, REPEATED
from stem_amqp.outcome import Held, Retried, Returned
from stem_amqp.results.base import KeyRecord, ResultBackend
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

CLAIM_TTL = 3600.0
"""The maximum number of seconds that a claim is held; a copy that arrives later runs too."""
TTL_AFTER_END = 120.0
"""Seconds that a claim is held after its attempt has ended. A worker looks up the record of a copy before it
claims: the attempt may end in between. And the record of a snooze does not identify a late copy."""


class Claims:
    """The claims of one worker on attempts.

    Args:
        backend: stores the claims.
        namespace: the application's namespace.
    """

    def __init__(self, backend: ResultBackend, namespace: str) -> None:
        self._backend = backend
        self._namespace = namespace

    async def takes(self, job: Job) -> bool:
        """Claim a job's attempt; return False if another copy of the message has the claim.

        While the backend is unavailable, this is repeated without a limit, as for the record.

        Args:
            job: a job with its message, of which there may be a copy.
        """
        token, key = _token(job), self._key(job)
        if token is None or key is None or not self._backend.keeps_keys:
            return True
        try:
            held: KeyRecord = await tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(BackendUnavailableError),
                wait=tenacity.wait_random_exponential(multiplier=0.2, max=15.0),
                before_sleep=lambda state: log.warning(
                    "%s may exist twice, and it is not known yet whether it runs elsewhere: %s",
                    job,
                    state.outcome and state.outcome.exception(),
                ),
            )(self._backend.claim_key, key, token, ttl=CLAIM_TTL)
        except (BackendError, ConfigurationError) as error:
            # A task that runs twice is better than one that never runs
            log.warning("%s: its attempt cannot be claimed, so a copy may run too: %s", job, error)
            return True
        if held.owner != token:
            return False
        job.claim = key
        return True

    async def release(self, job: Job, *, settled: bool) -> None:
        """Let a claim expire soon, once the record has the state of the attempt.

        Args:
            job: a job that has ended.
            settled: whether its outcome is settled; if not, its redelivery takes the claim again.
        """
        key, token, outcome = job.claim, _token(job), job.outcome
        if key is None or token is None or not settled or isinstance(outcome, Returned):
            return
        if isinstance(outcome, Retried) and outcome.native:
            return  # the same message is redelivered, with the next attempt
        try:
            if isinstance(outcome, Held):
                # The message is published again for the same attempt, and runs once it is resumed
                await self._backend.release_key(key, token)
            else:
                await self._backend.keep_key(key, token, ttl=TTL_AFTER_END)
        except BackendError as error:
            log.debug("%s: its claim expires later than it should: %s", job, error)

    def _key(self, job: Job) -> str | None:
        """Return the key of an attempt: the same for all copies of a message, and for no other."""
        message = job.message
        if message is None:
            return None
        moment = str(job.headers.get(NOT_BEFORE, ""))[:40]
        parts = (message.id, message.enqueued_at, job.replay, job.attempt, moment)
        return f"{self._namespace}:run:" + ":".join(map(str, parts))


def _token(job: Job) -> str | None:
    """Return a token that distinguishes the publishes of copies; None without a message id."""
    if not job.message_id:
        return None
    return f"{job.message_id}/{job.headers.get(REPEATED, 0)}"
