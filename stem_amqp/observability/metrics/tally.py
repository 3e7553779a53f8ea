"""Numbers that are counted on the hot path, and passed on in batches.

To count is an addition; to increment a metric of a library takes a lock or writes into a mapped file.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, TypeAlias

INTERVAL = 0.1
"""The longest time in seconds until a number is passed on while the event loop runs."""


class Tally(Protocol):
    """Something counted that is not passed on yet."""

    def flush(self) -> None:
        """Pass on what was counted since the last call."""
        ...


Changed: TypeAlias = Callable[[Tally], None]
"""Called once for a tally that has something to pass on."""


class Count:
    """A number that only grows.

    Args:
        changed: called when there is something to pass on.
        pass_on: called with the increase.
    """

    __slots__ = ("_changed", "_pass_on", "_passed", "_value", "dirty")

    def __init__(self, changed: Changed, pass_on: Callable[[float], object]) -> None:
        self.dirty = False
        self._value = self._passed = 0
        self._changed = changed
        self._pass_on = pass_on

    def add(self) -> None:
        """Count one."""
        self._value += 1
        if not self.dirty:
            self.dirty = True
            self._changed(self)

    def add_many(self, number: int) -> None:
        """Pass on a number that was counted elsewhere."""
        if number:
            self._pass_on(number)

    def flush(self) -> None:
        """Pass on the increase."""
        self.dirty = False  # first: what is counted from here on is flushed later
        value = self._value
        increase, self._passed = value - self._passed, value
        if increase:
            self._pass_on(increase)


class Values:
    """Numbers that are passed on together.

    They are numbers and nothing else: an object of the task, such as its delivery, would be kept from
    one flush to the next, and every one of a few thousand more objects is work for the garbage collector.

    Args:
        changed: called when there is something to pass on.
        pass_on: called with the values, in the order in which they were observed.
    """

    __slots__ = ("_changed", "_pass_on", "_values", "dirty")

    def __init__(self, changed: Changed, pass_on: Callable[[Sequence[float]], object]) -> None:
        self.dirty = False
        self._values: deque[float] = deque()
        self._changed = changed
        self._pass_on = pass_on

    def observe(self, value: float) -> None:
        """Add a value."""
        self._values.append(value)
        if not self.dirty:
            self.dirty = True
            self._changed(self)

    def observe_many(self, values: Sequence[float]) -> None:
        """Pass on values that were collected elsewhere."""
        if values:
            self._pass_on(values)

    def flush(self) -> None:
        """Pass on the values."""
        self.dirty = False  # first: what is observed from here on is flushed now or later
        values = [self._values.popleft() for _ in range(len(self._values))]
        if values:
            self._pass_on(values)


def count_buckets(bounds: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the number of values in each bucket; the last one has no upper bound."""
    # sorting and searching the few bounds is twice as fast as searching each of many values
    ordered = sorted(values)
    below = [bisect_right(ordered, bound) for bound in bounds]
    return [count - before for before, count in pairwise((0, *below, len(ordered)))]


class Batch:
    """The tallies that have something to pass on, and the timer that passes it on."""

    def __init__(self) -> None:
        self._waiting: deque[Tally] = deque()
        self._lock = threading.Lock()
        self._timer: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None

    def add(self, tally: Tally) -> None:
        """Add a tally, which is flushed within `INTERVAL`; call it in an event loop or while it flushes."""
        self._waiting.append(tally)
        if self._timer is None or self._timer[0].is_closed():
            with contextlib.suppress(RuntimeError):  # in a thread that flushes right now
                loop = asyncio.get_running_loop()
                self._timer = (loop, loop.call_later(INTERVAL, self._expire))

    def _expire(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Flush all; any thread may call it."""
        with self._lock:
            while self._waiting:
                self._waiting.popleft().flush()
