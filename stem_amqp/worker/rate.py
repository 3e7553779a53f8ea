"""A token bucket: how often a task may start in one worker."""

from __future__ import annotations

from stem_amqp.durations import Rate

_BURST_SECONDS = 0.1
"""Starts that may come at once: a tenth of a second's worth, so that a rate is spread evenly."""


class TokenBucket:
    """Spreads starts over time (the generic cell rate algorithm, ITU-T I.371).

    Args:
        rate: the rate to hold.
    """

    def __init__(self, rate: Rate) -> None:
        self._interval = rate.period / rate.count
        burst = max(1.0, _BURST_SECONDS / self._interval)
        self._tolerance = (burst - 1) * self._interval
        self._theoretical = float("-inf")

    def wait(self, now: float) -> float:
        """Return the seconds until the next start is allowed; nothing is taken.

        Args:
            now: any clock's seconds, the same clock each time.
        """
        return max(0.0, self._theoretical - self._tolerance - now)

    def take(self, now: float) -> float:
        """Take the next start, and return the seconds until it is allowed.

        Args:
            now: any clock's seconds, the same clock each time.
        """
        wait = self.wait(now)
        self._theoretical = max(self._theoretical, now) + self._interval
        return wait
