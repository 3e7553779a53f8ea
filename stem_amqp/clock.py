"""The wall clock as an object, which a test can replace; timestamps of the wire format."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

_EARLIEST, _LATEST = -62_135_510_400.0, 253_402_300_799.0
"""The first and last moment of Python's calendar, the years 1 and 9999, in seconds since the epoch."""


class Clock(Protocol):
    """A source of the current time."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...


class SystemClock:
    """The system clock."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()


def timestamp(at: float) -> str:
    """Format a point in time as ISO 8601 in UTC with milliseconds, the format on the wire.

    A time outside of the calendar is written as its first or last moment.
    """
    moment = datetime.fromtimestamp(min(max(at, _EARLIEST), _LATEST), UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def next_millisecond(at: float) -> float:
    """Return the first millisecond after a point in time, in seconds since the epoch.

    `timestamp` cuts what is below a millisecond off. A time that it wrote until `at` is before this one.
    """
    return round(parse_timestamp(timestamp(at)) + 0.001, 3)


def parse_timestamp(text: str) -> float:
    """Parse an ISO 8601 time with a time zone into seconds since the epoch.

    Raises:
        ValueError: it is not such a time, or has no time zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    at = moment.timestamp()
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError(f"{text!r} is outside of the calendar")
    return at
