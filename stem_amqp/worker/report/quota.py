"""A limit per period, for log lines and commands that other clients can cause."""

from __future__ import annotations

import time
from collections.abc import Callable


class Quota:
    """Allows a limited number of events in each period.

    Args:
        limit: the maximum number of events in a period.
        period: seconds.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self, limit: int, period: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._period = period
        self._clock = clock
        self._begun = clock()
        self._taken = 0
        self._skipped = 0

    def take(self) -> bool:
        """Return whether one more event is allowed, and count it, otherwise as skipped."""
        now = self._clock()
        if now - self._begun >= self._period:
            self._begun, self._taken = now, 0
        if self._taken >= self._limit:
            self._skipped += 1
            return False
        self._taken += 1
        return True

    def skipped(self) -> int:
        """Return the number of events skipped since the last call."""
        skipped, self._skipped = self._skipped, 0
        return skipped
