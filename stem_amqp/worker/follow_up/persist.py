"""Repeats the steps of a settlement until they succeed, or can no longer succeed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable

import tenacity

from stem_amqp.errors import (
    BackendError,
    BrokerError,
    BrokerRefusedError,
    ReplyRefusedError,
    StaleDeliveryError,
    UnroutableError,
    UnwritableError,
)
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

REFUSED_FOR = 60.0
"""Seconds for which the broker may refuse a step, as without a permission, until it is given up."""
REPLY_TRIES = 5
"""The number of times that a reply may be refused before it is given up."""

Step = Callable[[], Awaitable[object]]
OnFailure = Callable[[BaseException], Awaitable[None]]


class Persistence:
    """Repeats steps until they succeed.

    While the broker or the backend is unavailable, or a queue is full, a step is repeated without
    a limit. While a permission is missing, it is repeated for `REFUSED_FOR` seconds, and a refused
    reply is repeated up to `REPLY_TRIES` times.

    Args:
        longest_wait: the maximum number of seconds before a step is repeated.
    """

    def __init__(self, longest_wait: float = 15.0) -> None:
        self._wait = tenacity.wait_random_exponential(multiplier=0.2, max=longest_wait)

    async def take(
        self,
        job: Job,
        step: Step,
        on_failure: OnFailure | None = None,
        *,
        unroutable_for: float = math.inf,
    ) -> None:
        """Call a step until it succeeds.

        Args:
            job: the job that is settled, for the log.
            step: the step; it may be called any number of times.
            on_failure: called with each failure after which the step is repeated.
            unroutable_for: seconds after which an unroutable message is given up.

        Raises:
            UnroutableError: the message was unroutable for that long.
            BrokerRefusedError: the broker has refused the step for `REFUSED_FOR` seconds.
            ReplyRefusedError: the reply queue has refused the reply `REPLY_TRIES` times.
            StemError: the step can never succeed, or the delivery is stale.
        """
        try:
            await step()
        except (BrokerError, BackendError) as error:
            if not _may_pass(error):
                raise
            failure = error
        else:
            return
        await self._take_after(failure, job, step, on_failure, unroutable_for)

    async def _take_after(
        self,
        failure: Exception,
        job: Job,
        step: Step,
        on_failure: OnFailure | None,
        unroutable_for: float,
    ) -> None:
        """Repeat a step after its first failure: `AsyncRetrying` is too slow for every outcome."""
        failures = [failure]

        async def log_failure(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            # A warning: the worker recovers by itself, and an error tracker should not count each try
            log.warning("%s: its outcome cannot be settled yet, trying again: %s", job, error)
            if on_failure is not None and error is not None:
                await on_failure(error)

        async for attempt in tenacity.AsyncRetrying(
            wait=self._wait,
            retry=tenacity.retry_if_exception(_may_pass),
            stop=_Patience(unroutable_for),
            before_sleep=log_failure,
            reraise=True,
        ):
            with attempt:
                if failures:
                    raise failures.pop()
                await step()


class _Patience(tenacity.stop.stop_base):
    """Decides when a refused step is given up; the time before an outage is not counted.

    Args:
        unroutable_for: seconds for which a message may be unroutable.
    """

    def __init__(self, unroutable_for: float) -> None:
        self._replies = 0
        self._limits = {BrokerRefusedError: REFUSED_FOR, UnroutableError: unroutable_for}
        self._since: dict[type[BrokerError], float] = {}

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, ReplyRefusedError):
            self._replies += 1
            return self._replies >= REPLY_TRIES
        kind = next((kind for kind in self._limits if isinstance(error, kind)), None)
        now = time.monotonic()
        self._since = {} if kind is None else {kind: self._since.get(kind, now)}
        return kind is not None and now - self._since[kind] >= self._limits[kind]


def _may_pass(error: BaseException) -> bool:
    """Return whether a step that failed with an error may succeed when it is repeated."""
    return isinstance(error, (BrokerError, BackendError)) and not isinstance(
        error, (StaleDeliveryError, UnwritableError)
    )
