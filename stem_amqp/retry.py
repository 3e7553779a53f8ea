"""Retry policies: how long to wait, when to stop, what to retry. Pure; messages wait in the broker.

A policy is made of tenacity's wait, stop and retry strategies, which the worker evaluates for one failed
attempt at a time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import tenacity
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from stem_amqp.durations import Duration, format_seconds, seconds, shown
from stem_amqp.errors import ConfigurationError

_SHORT_FORM = ("base", "factor", "max", "jitter")


class wait_with_jitter(wait_base):  # noqa: N801 - named like tenacity's own strategies
    """Subtract a random part from another strategy's wait, so that retries of a burst are spread out.

    Args:
        wait: the strategy that gives the longest wait.
        share: the largest part to subtract, 0 to 1.
    """

    def __init__(self, wait: wait_base, share: float) -> None:
        self.wait = wait
        self.share = share

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return the seconds to wait."""
        longest = float(self.wait(retry_state))
        return longest - random.uniform(0, longest * self.share)


class RetryPolicy:
    """Decides whether and when a failed task runs again.

    The short form is an exponential backoff: ``base * factor ** attempt`` seconds, at most ``max``,
    minus a random part of up to ``jitter``.

    Args:
        base: the first wait.
        factor: the factor between two waits, at least 1.
        max: the longest wait.
        jitter: the largest random part to subtract from a wait, 0 to 1.
        wait: a tenacity wait strategy instead of the short form.
        stop: a tenacity stop strategy, in addition to ``max_retries``. Its
            ``stop_after_delay`` counts from the time of the enqueue.
        retry: a tenacity retry strategy, such as ``retry_if_exception_type(IOError)``; a failure that it does not accept is not retried.

    Raises:
        ConfigurationError: a value is out of range, or the short form is mixed with ``wait``.
    """

    def __init__(
        self,
        *,
        base: Duration | None = None,
        factor: float | None = None,
        max: Duration | None = None,  # noqa: A002 - the key in the topology file
        jitter: float | None = None,
        wait: wait_base | None = None,
        stop: stop_base | None = None,
        retry: retry_base | None = None,
    ) -> None:
        if wait is not None and any(part is not None for part in (base, factor, max, jitter)):
            raise ConfigurationError(
                "a retry policy takes either a tenacity wait strategy or the short form"
                " (base, factor, max, jitter), not both"
            )
        self._short = None if wait is not None else _short_form(base, factor, max, jitter)
        self._wait = wait if wait is not None else _exponential(self._short or {})
        self._stop = stop
        self._retry = retry

    def accepts(self, attempt: int, error: BaseException, *, elapsed: float = 0.0) -> bool:
        """Return whether the retry strategy accepts a failure; True without a strategy."""
        return self._retry is None or bool(self._retry(_call_state(attempt, error, elapsed)))

    def delay(self, attempt: int, error: BaseException, *, elapsed: float = 0.0) -> float | None:
        """Return the wait after a failed attempt.

        Args:
            attempt: the attempt that failed, 0 for the first run.
            error: what it failed with.
            elapsed: seconds since the enqueue.

        Returns:
            Seconds to wait, or None if the stop strategy ends the retries.
        """
        state = _call_state(attempt, error, elapsed)
        if self._stop is not None and self._stop(state):
            return None
        return max(0.0, float(self._wait(state)))

    def short_form(self) -> dict[str, float]:
        """Return the policy as plain values, the form in messages and files.

        Raises:
            ConfigurationError: it uses tenacity strategies, which cannot be sent.
        """
        if self._short is None or self._stop is not None or self._retry is not None:
            raise ConfigurationError(
                "a retry policy for one call must be in short form"
                " (base, factor, max, jitter): tenacity strategies cannot be sent in a message;"
                " set them on the task"
            )
        return dict(self._short)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RetryPolicy:
        """Parse the short form.

        Raises:
            ConfigurationError: a key is unknown or a value is out of range.
        """
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"a retry policy must be a mapping of {', '.join(_SHORT_FORM)}, not {shown(value)}"
            )
        unknown = sorted(str(name) for name in value if name not in _SHORT_FORM)
        if unknown:
            raise ConfigurationError(
                f"unknown key of a retry policy: {', '.join(unknown)}; the keys are {', '.join(_SHORT_FORM)}"
            )
        return cls(**value)

    def __repr__(self) -> str:
        if self._short is None:
            return f"RetryPolicy(wait={self._wait!r})"
        parts = ", ".join(f"{name}={value:g}" for name, value in self._short.items())
        return f"RetryPolicy({parts})"

    def __str__(self) -> str:
        if self._short is None:
            return type(self._wait).__name__
        short = self._short
        return (
            f"{format_seconds(short['base'])} x {short['factor']:g}"
            f" up to {format_seconds(short['max'])}, jitter {short['jitter']:g}"
        )


def _short_form(
    base: Duration | None, factor: float | None, longest: Duration | None, jitter: float | None
) -> dict[str, float]:
    short = {
        "base": seconds(2 if base is None else base),
        "factor": 2.0 if factor is None else _number("factor", factor),
        "max": seconds(300 if longest is None else longest),
        "jitter": 0.25 if jitter is None else _number("jitter", jitter),
    }
    if short["base"] > short["max"]:
        raise ConfigurationError(
            f"the retry policy's base ({format_seconds(short['base'])}) is longer than its max"
            f" ({format_seconds(short['max'])}): set max as well"
        )
    if not 1 <= short["factor"] < float("inf"):
        raise ConfigurationError(f"the retry policy's factor must be at least 1, not {factor}")
    if not 0 <= short["jitter"] <= 1:
        raise ConfigurationError(f"the retry policy's jitter must be from 0 to 1, not {jitter}")
    return short


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ConfigurationError(f"the retry policy's {name} must be a number, not {shown(value)}")


def _exponential(short: Mapping[str, float]) -> wait_base:
    wait = tenacity.wait_exponential(
        multiplier=short["base"], exp_base=short["factor"], max=short["max"]
    )
    return wait_with_jitter(wait, short["jitter"]) if short["jitter"] else wait


def _call_state(attempt: int, error: BaseException, elapsed: float) -> tenacity.RetryCallState:
    """Build the call state that tenacity's strategies evaluate, for one failed attempt."""
    state = tenacity.RetryCallState(retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt + 1
    outcome: tenacity.Future = tenacity.Future(attempt + 1)
    outcome.set_exception(error)
    state.outcome = outcome
    state.outcome_timestamp = time.monotonic()
    state.start_time = state.outcome_timestamp - elapsed
    return state


DEFAULT_POLICY = RetryPolicy()
"""2 s, doubled each time, at most 5 minutes, minus up to a quarter of jitter."""
