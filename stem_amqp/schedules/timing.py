"""When a schedule ticks: at an interval, by a cron line in a time zone, or once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cronsim import CronSim

from stem_amqp.clock import timestamp
from stem_amqp.durations import format_seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules.cron_line import check_line, covers_every_hour
from stem_amqp.schedules.zone import check_zone, last_change, next_change, offset

SHORTEST_INTERVAL = 0.1
"""The shortest interval, in seconds."""
LONGEST_INTERVAL = 10 * 366 * 86400.0
"""The longest interval, in seconds: ten years."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - dates of the calendar have no zone
_LONGEST_CHANGE = 2 * 86400
"""More seconds than any zone's offset has ever changed by."""


@dataclass(frozen=True, slots=True)
class Every:
    """Tick at an interval of elapsed time, whatever clocks show.

    Args:
        seconds: the interval in seconds, a multiple of a millisecond.
        anchor: one of the ticks, in seconds since the epoch; the others follow and precede it.

    Raises:
        ConfigurationError: the interval is too short or too long.
    """

    seconds: float
    anchor: float = 0.0

    def __post_init__(self) -> None:
        if not SHORTEST_INTERVAL <= self.seconds <= LONGEST_INTERVAL:
            raise ConfigurationError(
                f"an interval must be from 100ms to ten years, not {self.seconds:g} s"
            )

    def after(self, moment: float) -> float | None:
        """Return the first tick that is later than a moment, both in seconds since the epoch."""
        period, anchor = round(self.seconds * 1000), round(self.anchor * 1000)
        # Through microseconds: 0.123 s has no exact float, and a tick must not come after itself
        at = round(moment * 1_000_000) // 1000
        return (anchor + ((at - anchor) // period + 1) * period) / 1000

    def __str__(self) -> str:
        return f"every {format_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Cron:
    """Tick by a cron line, on the clock of a time zone.

    A line whose hours are not all hours of the day ticks once for each time that it names: a time that the
    clock skips at the first moment after the gap, a time that comes twice the first time. A line for every
    hour ticks whenever the clock shows a minute that it names: not in a skipped hour, and in both hours of
    a doubled one.

    Args:
        text: the line: minute, hour, day of the month, month, day of the week; or with the second in front.
        tz: the name of the time zone.

    Raises:
        ConfigurationError: the line has a mistake, or there is no such zone.
    """

    text: str
    tz: str = "UTC"
    every_hour: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", check_line(self.text))
        check_zone(self.tz)
        object.__setattr__(self, "every_hour", covers_every_hour(self.text))

    def after(self, moment: float) -> float | None:
        """Return the first tick that is later than a moment, both in seconds since the epoch.

        Returns:
            The tick; None if no date of the next 50 years matches.
        """
        at = math.floor(moment)
        east = offset(self.tz, at)
        shown_time = at + east
        if not self.every_hour:
            # Within the second of two equal hours: the line has ticked in the first
            change = last_change(self.tz, at - _LONGEST_CHANGE, at)
            if change is not None:
                shown_time = max(shown_time, change.at + change.before - 1)
        while (tick := self._next(shown_time)) is not None:
            change = next_change(self.tz, at, tick - east)
            if change is None:
                return float(tick - east)
            old, new = change.at + change.before, change.at + change.after
            at, east = change.at, change.after
            if not self.every_hour and old <= tick < new:
                return float(at)
            shown_time = max(tick, new) - 1 if new > old else (new if self.every_hour else old) - 1
        return None

    def _next(self, shown_time: int) -> int | None:
        """Return the next match on the calendar, both in seconds of a clock without changes."""
        try:
            found = next(CronSim(self.text, _EPOCH + timedelta(seconds=shown_time)))
        except (StopIteration, OverflowError, ValueError):  # the end of the calendar
            return None
        return int((found - _EPOCH).total_seconds())

    def __str__(self) -> str:
        return f"{self.text} ({self.tz})"


@dataclass(frozen=True, slots=True)
class At:
    """Tick once.

    Args:
        moment: an aware datetime.

    Raises:
        ConfigurationError: it has no time zone.
    """

    moment: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "moment", aware("at", self.moment))

    def after(self, moment: float) -> float | None:
        """Return the tick if it is later than a moment, both in seconds since the epoch."""
        at = round(self.moment.timestamp() * 1000) / 1000
        return at if at > moment else None

    def __str__(self) -> str:
        return f"once at {timestamp(self.moment.timestamp())}"


Timing: TypeAlias = Every | Cron | At


def aware(name: str, value: object) -> datetime:
    """Return a point in time in UTC, given as an aware datetime or as an ISO 8601 text with an offset.

    Args:
        name: the option's name, for the error.
        value: the datetime or the text.

    Raises:
        ConfigurationError: it is neither, or has no time zone.
    """
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        raise ConfigurationError(
            f"{name} must be a time such as 2027-03-01T09:00:00+01:00, not {shown(value)}"
        )
    if moment.tzinfo is None:
        raise ConfigurationError(
            f"{name}: {moment.isoformat()} has no time zone\n"
            f"  Add the offset, such as {moment.isoformat()}+01:00, or Z for UTC"
        )
    return moment.astimezone(UTC)
