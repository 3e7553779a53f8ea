"""The broker's time: real, or moved by hand so that an hour's delay takes no time in a test."""

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
"""Turns of the event loop in which consumers react to what a step of the clock released."""
_POLL = 0.002


class Timer(Protocol):
    """Something that happens later, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not let it happen."""
        ...


class ManualTimer:
    """A callback that waits for a `ManualClock`.

    Args:
        callback: called once, when its time has come.
    """

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call it."""
        self.callback = None


class ManualClock:
    """A clock that stands still until it is moved.

    Args:
        start: seconds since the epoch; default: now.
    """

    def __init__(self, start: float | None = None) -> None:
        # Whole microseconds: the sum of several delays must not miss its end by a rounding error.
        self._now = microseconds(time.time() if start is None else start)
        self._timers: list[tuple[int, int, ManualTimer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return self._now / MICROSECOND

    def advance(self, seconds: float) -> None:
        """Move on, and let everything happen that falls due, in its order and at its own time.

        What a callback sets off within these seconds happens too: a message passes through
        several delay queues in one call. Consumers get their deliveries in the event loop's next
        turns; for what they do in response at a time of its own, use `advance_until`.

        Args:
            seconds: how far, not negative.

        Raises:
            ValueError: it is negative.
        """
        if seconds < 0:
            raise ValueError(f"a clock does not go back, not even by {-seconds} s")
        self._advance_to(self._now + microseconds(seconds))

    async def advance_until(
        self, condition: Callable[[], bool], *, within: float, patience: float = 5.0
    ) -> None:
        """Move from one due time to the next until a condition holds.

        Between two steps the event loop turns, so that consumers run, publish and settle at the
        time that the clock shows. Work in threads or other processes is not waited for.

        Args:
            condition: what is waited for.
            within: seconds to move on at most.
            patience: real seconds to wait when nothing more falls due.

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
        """Have something called at a time.

        Args:
            when: microseconds since the epoch.
            callback: what to call; a time that has passed is due with the next `advance`.
        """
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def next_due(self) -> float | None:
        """Return the time at which the next thing falls due, or None if nothing waits."""
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
    """Have something called when a clock shows a time.

    Args:
        clock: a `ManualClock`, or one that runs by itself.
        loop: the event loop that calls.
        when: microseconds since the epoch.
        callback: what to call; from a clock that runs by itself possibly a little early.
    """
    if isinstance(clock, ManualClock):
        return clock.call_at(when, callback)
    wait = when / MICROSECOND - clock.time()
    return loop.call_later(max(0.0, wait), callback)
