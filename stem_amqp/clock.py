"""The time of day, as an object: so a test can move it an hour on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


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
    """Write a point in time as ISO 8601 in UTC with milliseconds, as it stands on the wire."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_timestamp(text: str) -> float:
    """Read an ISO 8601 time with its zone into seconds since the epoch.

    Raises:
        ValueError: it is no such time, or it has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
