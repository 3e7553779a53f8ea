"""Measures the lag of an event loop: how late it calls what is due."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import ClassVar

INTERVAL = 0.5
"""Seconds between two measurements."""
PERIOD = 30.0
"""The shortest time in seconds for which `LoopLag.peak` keeps a value; the longest is twice that."""


class LoopLag:
    """The lag of one event loop, measured by a timer while it is in use.

    ::

        lag = LoopLag.here()
        lag.start()
        ...
        lag.seconds, lag.peak
        lag.stop()

    All users in one event loop share one measurement. Its properties may be read in any thread.
    """

    _shared: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopLag]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self) -> None:
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._last = 0.0
        self._peaks = (0.0, 0.0)
        self._period_ends = 0.0

    @classmethod
    def here(cls) -> LoopLag:
        """Return the measurement of the running event loop; it is not started."""
        loop = asyncio.get_running_loop()
        lag = cls._shared.get(loop)
        if lag is None:
            lag = cls._shared[loop] = cls()
        return lag

    def start(self) -> None:
        """Measure, until as many calls of `stop`. Call it in the event loop."""
        self._users += 1
        if self._timer is None:
            self._period_ends = time.monotonic() + PERIOD
            self._wait()

    def stop(self) -> None:
        """Stop to measure, if there is no other user."""
        self._users = max(0, self._users - 1)
        if not self._users and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._last = self._due = 0.0
            self._peaks = (0.0, 0.0)

    @property
    def overdue(self) -> float:
        """Seconds by which the next measurement is late: for how long the loop has been blocked."""
        due = self._due
        return max(0.0, time.monotonic() - due) if due else 0.0

    @property
    def seconds(self) -> float:
        """The last lag in seconds, or that of a loop that is blocked now."""
        return max(self._last, self.overdue)

    @property
    def peak(self) -> float:
        """The largest lag in seconds within the last `PERIOD` or more."""
        return max(*self._peaks, self.overdue)

    def _wait(self) -> None:
        # not the loop's own time: uvloop does not advance it during a callback
        self._due = time.monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._measure)

    def _measure(self) -> None:
        now = time.monotonic()
        self._last = max(0.0, now - self._due)
        current, before = self._peaks
        if now >= self._period_ends:
            self._period_ends = now + PERIOD
            current, before = 0.0, current
        self._peaks = (max(current, self._last), before)
        self._wait()
