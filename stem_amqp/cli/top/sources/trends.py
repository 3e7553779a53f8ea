"""The values of the last minute, for sparklines and rates."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable

STEP = 5.0
"""Seconds of one value of a trend; RabbitMQ's statistics are refreshed every 5 seconds."""
STEPS = 12
_WINDOW = 10.0
"""Seconds over which a rate is measured."""


class Trend:
    """One value for each step of the last minute: the last one that was noted in it."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=STEPS)

    def note(self, at: float, value: float) -> None:
        """Note a value.

        Args:
            at: seconds on a monotonic clock.
            value: the value.
        """
        step = int(at // STEP)
        if self._steps and self._steps[-1][0] == step:
            self._steps.pop()
        self._steps.append((step, value))

    @property
    def values(self) -> tuple[float, ...]:
        """The values, the oldest first."""
        return tuple(value for _, value in self._steps)


class Rates:
    """The rates of counters, over the last ten seconds."""

    def __init__(self) -> None:
        self._samples: defaultdict[Hashable, deque[tuple[float, int]]] = defaultdict(deque)

    def note(self, counter: Hashable, at: float, value: int) -> float | None:
        """Note the value of a counter, and return its rate per second; None for the first value.

        Args:
            counter: which one.
            at: seconds on the clock of the counter.
            value: its value; a smaller one than before begins again.
        """
        samples = self._samples[counter]
        if samples and (value < samples[-1][1] or at < samples[-1][0]):
            samples.clear()
        if not samples or at > samples[-1][0]:
            samples.append((at, value))
        while len(samples) > 2 and samples[1][0] <= at - _WINDOW:  # noqa: PLR2004 - two make a rate
            samples.popleft()
        (first, before), (last, now) = samples[0], samples[-1]
        return (now - before) / (last - first) if last > first else None

    def keep(self, counters: set[Hashable]) -> None:
        """Forget other counters."""
        for counter in self._samples.keys() - counters:
            del self._samples[counter]
