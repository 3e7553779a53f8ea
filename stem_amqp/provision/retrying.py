"""Retries of provisioning while the broker is unavailable."""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.errors import BrokerUnavailableError

log = logging.getLogger("stem_amqp.provision")
DEFAULT_WAIT = 30.0
"""Seconds to retry."""
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


def retrying(what: str, wait: float) -> tenacity.AsyncRetrying:
    """Return an object that retries a function while the broker is unavailable.

    After the time, the last error is raised; any other error is raised at once.

    Args:
        what: the operation, for the log.
        wait: seconds to retry; the last attempt begins within them.
    """

    def report(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        pause = state.next_action.sleep if state.next_action is not None else 0.0
        log.warning("could not %s: %s; trying again in %.1f s", what, error, pause)

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BrokerUnavailableError),
        wait=tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
        stop=tenacity.stop_before_delay(wait),
        before_sleep=report,
        reraise=True,
    )
