"""The bodies of the tasks: the same code in every framework. Only workers import this."""

from __future__ import annotations

import asyncio
import time

from bench.marks import Marks
from bench.run import Run

RUN = Run.current()
MARKS = Marks(RUN.marks)
WAIT = 0.010
"""Seconds of pretended I/O."""
SQUARES = 50_000
"""Rounds of arithmetic of a CPU-bound task: some milliseconds."""


class OnceError(Exception):
    """What a flaky task raises the first time."""


async def noop(number: int) -> None:
    """Do nothing."""
    MARKS.put(number)


def sync_noop(number: int) -> None:
    """Do nothing, in a thread."""
    MARKS.put(number)


async def wait(number: int) -> None:
    """Wait as for I/O."""
    await asyncio.sleep(WAIT)
    MARKS.put(number)


def sync_wait(number: int) -> None:
    """Wait as for I/O, in a thread or greenlet."""
    time.sleep(WAIT)
    MARKS.put(number)


def crunch(number: int) -> None:
    """Keep a core busy."""
    total = 0
    for base in range(SQUARES):
        total += base * base
    MARKS.put(number)


async def value(number: int) -> int:
    """Return something to store."""
    MARKS.put(number)
    return number


def sync_value(number: int) -> int:
    """Return something to store, in a thread."""
    MARKS.put(number)
    return number


def flaky(number: int) -> None:
    """Fail the first time; the second run is noted ``size`` slots further on.

    Raises:
        OnceError: this was the first run.
    """
    first = not MARKS.slots[number]
    MARKS.put(number if first else RUN.size + number)
    if first:
        raise OnceError
