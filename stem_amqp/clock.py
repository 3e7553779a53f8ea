"""The time of day, as an object: so a test can move it an hour on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

_EARLIEST, _LATEST = -62_135_510_400.0, 253_402_300_799.0
"""Seconds since the epoch of what Python's calendar begins and ends with, the years 1 and 9999."""


class Clock(Protocol):
    """What tells the time of day."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


def timestamp(at: float) -> str:
    """Write a point in time as ISO 8601 in UTC with milliseconds, as it stands on the wire.

    What is beyond the calendar is written as its first or last moment.
    """
    moment = datetime.fromtimestamp(min(max(at, _EARLIEST), _LATEST), UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_timestamp(text: str) -> float:
    """Read an ISO 8601 time with its zone into seconds since the epoch.

    Raises:
        ValueError: it is no such time, or it has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    at = moment.timestamp()
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError(f"{text!r} is beyond the calendar")
    return at
