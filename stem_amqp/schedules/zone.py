"""Time zones by name, and the moments at which their offset from UTC changes."""

from __future__ import annotations

import difflib
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from stem_amqp.durations import shown
from stem_amqp.errors import ConfigurationError

_STEP = 6 * 3600
"""The distance of the moments at which offsets are compared, in seconds. No zone changes twice within it."""
_LAST_YEAR = 9998
"""The last year that is searched, one before the last of Python's calendar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A moment at which a zone's offset from UTC changes.

    Args:
        at: the first second with the new offset, since the epoch.
        before: the offset until then, in seconds east of UTC.
        after: the offset from then on.
    """

    at: int
    before: int
    after: int


def check_zone(name: object) -> str:
    """Return the name of a time zone, checked.

    Raises:
        ConfigurationError: there is no such zone.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(
            f'a time zone must be a name such as "Europe/Berlin", not {shown(name)}'
        )
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(_unknown(name)) from None
    return name


def _unknown(name: str) -> str:
    known = zoneinfo.available_timezones()
    if not known:
        return (
            f"there is no time zone {shown(name)}, since this system has no time zones\n"
            "  Install the package tzdata"
        )
    by_city = {zone.rpartition("/")[2].lower(): zone for zone in sorted(known)}
    lowered = {zone.lower(): zone for zone in sorted(known)}
    word = name.lower().replace(" ", "_")
    meant = lowered.get(word) or by_city.get(word.rpartition("/")[2])
    if meant is None:
        close = difflib.get_close_matches(word, lowered, n=1) or difflib.get_close_matches(
            word, by_city, n=1
        )
        meant = (lowered.get(close[0]) or by_city[close[0]]) if close else None
    hint = f"; did you mean {meant}?" if meant else ""
    return (
        f"there is no time zone {shown(name)}{hint}\n"
        "  Write a name of the IANA time zone database, such as Europe/Berlin or UTC"
    )


def offset(zone: str, at: float) -> int:
    """Return a zone's offset from UTC in seconds.

    Args:
        zone: its name.
        at: seconds since the epoch.
    """
    given = datetime.fromtimestamp(at, zoneinfo.ZoneInfo(zone)).utcoffset()
    return 0 if given is None else int(given.total_seconds())


def next_change(zone: str, after: int, until: int) -> Change | None:
    """Return the first change of a zone's offset that is later than a moment.

    Args:
        zone: its name.
        after: seconds since the epoch.
        until: the last moment to search, in seconds since the epoch.
    """
    first, last = _year(after), min(_year(until), _LAST_YEAR)
    for year in range(first, last + 1):
        for change in _changes(zone, year):
            if after < change.at <= until:
                return change
    return None


def last_change(zone: str, after: int, until: int) -> Change | None:
    """Return the last change of a zone's offset in a period: later than ``after``, at most ``until``."""
    found = None
    while (change := next_change(zone, after, until)) is not None:
        found, after = change, change.at
    return found


def _year(at: int) -> int:
    return datetime.fromtimestamp(at, UTC).year


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> tuple[Change, ...]:
    """Return the changes within a year of UTC; zoneinfo does not list them."""
    if zone == "UTC":
        return ()
    start, end = (int(datetime(one, 1, 1, tzinfo=UTC).timestamp()) for one in (year, year + 1))
    found: list[Change] = []
    low, before = start - 1, offset(zone, start - 1)
    while low < end - 1:
        high = min(low + _STEP, end - 1)
        now = offset(zone, high)
        if now != before:
            found.append(Change(at=_first(zone, low, high, before), before=before, after=now))
        low, before = high, now
    return tuple(found)


def _first(zone: str, low: int, high: int, before: int) -> int:
    """Return the first second with another offset; the offset differs at ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        if offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high
