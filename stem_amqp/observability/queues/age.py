"""The age of a queue's oldest ready message, from the counters of the management API.

Taking the message to look at it would count as a delivery, so the exporter only follows two numbers.
A queue is first-in-first-out: if 100 messages have been delivered for the first time, the oldest ready
one is the 101st that entered. ``delivered + ready`` is how many have entered. The exporter remembers when
this sum had which value; the 101st message entered after the last time at which the sum was 100 or less.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SAMPLES = 256
"""Maximum number of remembered sums; beyond it, about half of them are forgotten."""
_SETTLED = 4
"""The number of samples after which a smaller sum is no delay of RabbitMQ's statistics."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counters of a queue at one time.

    Args:
        ready: the number of ready messages.
        delivered: the number of first deliveries since the broker counts; None if not known.
        returned: how many ready messages were delivered before, where RabbitMQ reports it (4.3).
    """

    ready: int
    delivered: int | None
    returned: int = 0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    entered: int


class ReadyAge:
    """Follows one queue; its age is a lower bound, and 0 for an empty queue.

    RabbitMQ's statistics are up to 5 seconds old. Messages that leave without a counted delivery
    (expired, purged, or delivered on a channel that was closed before its statistics were sent) make the
    sum smaller; if it stays smaller, the difference is added to the deliveries.
    """

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self._recent: deque[int] = deque(maxlen=_SETTLED)
        self._highest = 0
        self._uncounted = 0
        self._counted = 0
        self._since: float | None = None

    def note(self, at: float, counts: Counts) -> None:
        """Remember the counters.

        Args:
            at: seconds on a monotonic clock.
            counts: the counters.
        """
        counted = counts.delivered
        if counted is None:
            self._forget()
            self._since = None
            return
        # The counters begin again when the broker restarts
        if counts.ready == 0 or counted < self._counted:
            self._forget()
        self._counted = counted
        entered = self._settled(counted + self._uncounted + counts.ready - counts.returned)
        self._samples.append(_Sample(at, entered))
        self._find(at, counted + self._uncounted, counts.ready)

    def seconds(self, at: float) -> float | None:
        """Return the least age of the oldest ready message; None if nothing is known.

        Args:
            at: seconds on the same clock.
        """
        return None if self._since is None else max(0.0, at - self._since)

    def _forget(self) -> None:
        self._samples.clear()
        self._recent.clear()
        self._highest = self._uncounted = self._counted = 0

    def _settled(self, entered: int) -> int:
        """Return the sum, and count messages that left without a counted delivery."""
        self._recent.append(entered)
        if len(self._recent) < _SETTLED:
            return entered
        missing = self._highest - max(self._recent)
        if missing > 0:
            self._uncounted += missing
            entered += missing
            self._recent = deque((one + missing for one in self._recent), maxlen=_SETTLED)
        self._highest = max(self._highest, min(self._recent))
        return entered

    def _find(self, at: float, delivered: int, ready: int) -> None:
        """Find the first time at which the oldest ready message was certainly in the queue."""
        if not ready:
            self._since = at
            return
        numbers = range(len(self._samples) - 1, -1, -1)
        before = next((i for i in numbers if self._samples[i].entered <= delivered), None)
        if before is None:
            self._since = self._samples[0].at
        elif before + 1 < len(self._samples):
            self._since = self._samples[before + 1].at
        elif self._since is None:
            self._since = at  # all ready messages were delivered before: older than this
        del self._samples[: before or 0]
        if len(self._samples) > SAMPLES:
            self._samples = _thinned(self._samples)


def _thinned(samples: list[_Sample]) -> list[_Sample]:
    """Return about half of the samples, evenly in time; the first two are around the head's entry."""
    kept = samples[:2]
    distance = (samples[-1].at - samples[0].at) / (SAMPLES / 2)
    for sample in samples[2:-1]:
        if sample.at - kept[-1].at >= distance:
            kept.append(sample)
    return [*kept, samples[-1]]
