"""The broker's clock: the system's, or one that a test advances manually."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from stem_amqp.clock import Clock

MICROSECOND = 1_000_000
_TURNS = 50
"""Turns of the event loop for consumers to react to a step of the clock."""
_POLL = 0.002


class Timer(Protocol):
    """A scheduled callback that can be cancelled."""

    def cancel(self) -> None:
        """Cancel the callback."""
        ...


class ManualTimer:
    """A callback that waits for a `ManualClock`.

    Args:
        callback: called once, when it is due.
    """

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None


class ManualClock:
    """A clock that stands still until it is advanced.

    Args:
        start: seconds since the epoch; default: now.
    """

    def __init__(self, start: float | None = None) -> None:
        # Integer microseconds: sums of several delays must have no rounding error
        self._now = microseconds(time.time() if start is None else start)
        self._timers: list[tuple[int, int, ManualTimer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._now / MICROSECOND

    def advance(self, seconds: float) -> None:
        """Advance the clock, and run due callbacks in order, each at its own time.

        Callbacks that become due within these seconds also run: a message passes through several delay
        queues in one call. Consumers get their deliveries in the next turns of the event loop; use
        `advance_until` for their reactions at later times.

        Args:
            seconds: the time to advance, not negative.

        Raises:
            ValueError: it is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        self._advance_to(self._now + microseconds(seconds))

    async def advance_until(
        self, condition: Callable[[], bool], *, within: float, patience: float = 5.0
    ) -> None:
        """Advance from one due time to the next until a condition holds.

        Between two steps the event loop runs, so that consumers run, publish and settle at the clock's
        time. Work in threads or other processes is not awaited.

        Args:
            condition: the condition.
            within: the maximum number of seconds to advance.
            patience: real seconds to wait when nothing more is due.

        Raises:
            TimeoutError: the condition does not hold.
        """
        end = self._now + microseconds(within)
        give_up: float | None = None
        while not await self._holds_after_turns(condition):
            due = self._next_due()
            if due is not None and due <= end:
                self._advance_to(due)
                give_up = None
                continue
            give_up = give_up or time.monotonic() + patience
            if time.monotonic() > give_up:
                raise TimeoutError(
                    f"the condition does not hold, and nothing more falls due within {within} s"
                )
            await asyncio.sleep(_POLL)

    def call_at(self, when: int, callback: Callable[[], None]) -> ManualTimer:
        """Schedule a callback.

        Args:
            when: microseconds since the epoch.
            callback: the callback; if the time has passed, it runs with the next `advance`.
        """
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def next_due(self) -> float | None:
        """Return the time of the next callback, or None if there is none."""
        due = self._next_due()
        return None if due is None else due / MICROSECOND

    def _advance_to(self, end: int) -> None:
        while (due := self._next_due()) is not None and due <= end:
            callback = heapq.heappop(self._timers)[2].callback
            self._now = max(self._now, due)
            if callback is not None:
                callback()
        self._now = end

    def _next_due(self) -> int | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @staticmethod
    async def _holds_after_turns(condition: Callable[[], bool]) -> bool:
        for _ in range(_TURNS):
            if condition():
                return True
            await asyncio.sleep(0)
        return condition()


def microseconds(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * MICROSECOND)


def call_at(
    clock: Clock, loop: asyncio.AbstractEventLoop, when: int, callback: Callable[[], None]
) -> Timer:
    """Schedule a callback for a time of a clock.

    Args:
        clock: a `ManualClock`, or a running clock.
        loop: the event loop of the callback.
        when: microseconds since the epoch.
        callback: the callback; with a running clock it may run a little early.
    """
    if isinstance(clock, ManualClock):
        return clock.call_at(when, callback)
    wait = when / MICROSECOND - clock.time()
    return loop.call_later(max(0.0, wait), callback)
