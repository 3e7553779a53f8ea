"""The time of a limit store's clock, estimated from its answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from stem_amqp.clock import Clock, SystemClock

WINDOW = 30.0
"""Seconds for which the best estimate is kept, so that clocks may drift."""


def seconds_of(clock: Clock) -> Callable[[], float]:
    """Return a function that measures time as a clock does, and never goes back with the system's clock."""
    return time.monotonic if isinstance(clock, SystemClock) else clock.time


class StoreTime:
    """Estimates the store's time: an answer shows a time that has passed when it arrives.

    The answer with the shortest way is the most exact one, so the latest estimate of some seconds counts.

    Args:
        now: returns seconds of any clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = float("-inf")
        self._current: float | None = None
        self._former: float | None = None

    def learn(self, store: float) -> None:
        """Take an answer into account.

        Args:
            store: the store's time in the answer that has just arrived.
        """
        now = self._now()
        offset = store - now
        if now - self._since > WINDOW:
            self._former = self._current
            self._current, self._since = offset, now
        elif self._current is None or offset > self._current:
            self._current = offset

    def time(self) -> float | None:
        """Return the store's time; None before the first answer."""
        offsets = [offset for offset in (self._current, self._former) if offset is not None]
        return self._now() + max(offsets) if offsets else None
