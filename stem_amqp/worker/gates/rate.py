"""Rates that are counted in one worker: how often tasks may start there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from stem_amqp.durations import Rate

MAX_HELD = 5.0
"""The longest wait in the worker, in seconds; for a longer one, delay queues hold the message."""
MOST_KEYS = 10_000
"""The most values of keys that are remembered; those that were not used for the longest time go first."""
_BURST_SECONDS = 0.1
"""The starts of this many seconds may happen at once; otherwise starts are spread evenly."""


class TokenBucket:
    """Spreads starts over time (the generic cell rate algorithm, ITU-T I.371).

    Args:
        rate: the maximum rate.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._interval = rate.period / rate.count
        burst = max(1.0, _BURST_SECONDS / self._interval)
        self._tolerance = (burst - 1) * self._interval
        self._theoretical = float("-inf")

    def wait(self, now: float) -> float:
        """Return the seconds until the next start is allowed, without taking it.

        Args:
            now: seconds of any clock, the same clock each time.
        """
        return max(0.0, self._theoretical - self._tolerance - now)

    def take(self, now: float) -> float:
        """Take the next start, and return the seconds until it is allowed.

        Args:
            now: seconds of any clock, the same clock each time.
        """
        wait = self.wait(now)
        self._theoretical = max(self._theoretical, now) + self._interval
        return wait


class WorkerRates:
    """The rates of a worker, each key with its own bucket."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, wanted: Sequence[tuple[str, Rate]], now: float) -> float:
        """Take the next start from all rates, and return the seconds until it is allowed.

        If they are more than `MAX_HELD`, no start is taken.

        Args:
            wanted: the keys and their rates.
            now: seconds of any clock, the same clock each time.
        """
        buckets = [self._bucket(key, rate) for key, rate in wanted]
        wait = max(bucket.wait(now) for bucket in buckets)
        if wait <= MAX_HELD:
            for bucket in buckets:
                bucket.take(now)
        return wait

    def _bucket(self, key: str, rate: Rate) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[key] = TokenBucket(rate)
            if len(self._buckets) > MOST_KEYS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket
