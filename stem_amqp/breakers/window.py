"""The latest runs of a queue or task in one process, and whether they open its breaker."""

from __future__ import annotations

from collections import deque

from stem_amqp.breakers.breaker import Breaker, seconds_of


class Window:
    """Remembers how the latest runs ended.

    Args:
        breaker: what the breaker allows.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._needed = breaker.needed
        self._of = breaker.of
        self._within = seconds_of(breaker.within)
        self._runs: deque[tuple[float, bool]] = deque()
        self._failures = 0

    def add(self, at: float, *, failed: bool) -> bool:
        """Add a run, and return whether the breaker opens.

        Args:
            at: when it ended, in seconds of a monotonic clock.
            failed: whether it failed.
        """
        runs = self._runs
        runs.append((at, failed))
        self._failures += failed
        while len(runs) > self._of or runs[0][0] < at - self._within:
            self._failures -= runs.popleft()[1]
        return failed and self._failures >= self._needed

    @property
    def summary(self) -> str:
        """How many of the latest runs failed."""
        return f"{self._failures} of the last {len(self._runs)} runs failed"

    def clear(self) -> None:
        """Forget all runs."""
        self._runs.clear()
        self._failures = 0
