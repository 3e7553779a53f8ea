"""How long provisioning goes on trying while the broker is unavailable."""

from __future__ import annotations

import logging

import tenacity

from stem_amqp.errors import BrokerUnavailableError

log = logging.getLogger("stem_amqp.provision")
DEFAULT_WAIT = 30.0
"""Seconds to go on trying."""
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0


def patience(what: str, wait: float) -> tenacity.AsyncRetrying:
    """Return attempts at something, as long as the broker is unavailable.

    The last error is raised as it is; every other error at once.

    Args:
        what: what is attempted, for the log.
        wait: seconds to go on; the last attempt begins within them.
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
