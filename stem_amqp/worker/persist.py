"""Steps of a settlement that are taken again and again until they are done, or are known to be in vain."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import tenacity

from stem_amqp.errors import (
    BackendError,
    BrokerError,
    BrokerRefusedError,
    ReplyRefusedError,
    StaleDeliveryError,
    UnwritableError,
)
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

REFUSED_FOR = 60.0
"""Seconds for which the broker may refuse a step, for want of a permission, before it is given up."""
REPLY_TRIES = 5
"""Tries to reply to a queue that refuses, before the reply is given up."""

Step = Callable[[], Awaitable[object]]
OnFailure = Callable[[BaseException], Awaitable[None]]


class Persistence:
    """Takes steps until they are done.

    What comes from outside, a broker or a backend that is down, a full queue, passes, and is waited
    for without end. A permission that is missing may be given within the minute; a reply is worth a
    few tries.

    Args:
        longest_wait: seconds between two tries, at most.
    """

    def __init__(self, longest_wait: float = 15.0) -> None:
        self._wait = tenacity.wait_random_exponential(multiplier=0.2, max=longest_wait)

    async def take(self, job: Job, step: Step, on_failure: OnFailure | None = None) -> None:
        """Take one step.

        Args:
            job: whose settlement it belongs to, for the log.
            step: may be called any number of times.
            on_failure: told of each failure after which it is tried again.

        Raises:
            BrokerRefusedError: the broker has refused it for `REFUSED_FOR` seconds.
            ReplyRefusedError: the queue of the reply has refused it `REPLY_TRIES` times.
            StemError: it can never be done, or the delivery is stale.
        """
        try:
            await step()
        except (BrokerError, BackendError) as error:
            if not _may_pass(error):
                raise
            failure = error
        else:
            return
        await self._take_after(failure, job, step, on_failure)

    async def _take_after(
        self, failure: Exception, job: Job, step: Step, on_failure: OnFailure | None
    ) -> None:
        """Go on after a first failure: the retrying costs too much to begin with each outcome."""
        failures = [failure]

        async def complain(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.error("%s: its outcome cannot be settled yet, trying again: %s", job, error)
            if on_failure is not None and error is not None:
                await on_failure(error)

        async for attempt in tenacity.AsyncRetrying(
            wait=self._wait,
            retry=tenacity.retry_if_exception(_may_pass),
            stop=_Patience(),
            before_sleep=complain,
            reraise=True,
        ):
            with attempt:
                if failures:
                    raise failures.pop()
                await step()


class _Patience(tenacity.stop.stop_base):
    """Says when what the broker refuses is given up; an outage in between is not counted."""

    def __init__(self) -> None:
        self._replies = 0
        self._refused_since: float | None = None

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, ReplyRefusedError):
            self._replies += 1
            return self._replies >= REPLY_TRIES
        if not isinstance(error, BrokerRefusedError):
            self._refused_since = None
            return False
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since >= REFUSED_FOR


def _may_pass(error: BaseException) -> bool:
    """Say whether trying again can help, as it does with all that comes from outside."""
    return isinstance(error, (BrokerError, BackendError)) and not isinstance(
        error, (StaleDeliveryError, UnwritableError)
    )
