"""Parsing and formatting of durations (``200ms``, ``30s``, ``5m``, ``14d``) and rates (``10/s``)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError

Duration: TypeAlias = float | str | timedelta
"""Seconds as a number, a text such as ``"30s"``, or a `timedelta`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LENGTH = 64
"""The longest text of a duration or rate; a longer one is not parsed."""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_RATE = re.compile(r"([1-9][0-9]{0,14})/(s|m|h|d)")


def seconds(value: Duration) -> float:
    """Convert a duration to seconds.

    Args:
        value: a non-negative number of seconds, a text of one or more number-unit pairs
            (``ms``, ``s``, ``m``, ``h``, ``d``, ``w``) such as ``"1h30m"``, or a `timedelta`.

    Returns:
        The seconds.

    Raises:
        ConfigurationError: it is negative or not a valid duration.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(
            f"{shown(value)} is not a valid duration: write 200ms, 30s, 5m, 2h or 14d"
        )
    else:
        # An integer of more than 308 digits cannot be converted to float
        result = float(value) if abs(value) <= sys.float_info.max else float("inf")
    # The negated comparison also refuses NaN
    if not 0 <= result < float("inf"):
        raise ConfigurationError(f"the duration {shown(value)} must be finite and not negative")
    return result


def shown(value: object) -> str:
    """Format an invalid value for an error: truncated if long, as its type if its repr fails."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "of more than 308 digits"  # Python limits the digits of an integer that it formats
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001 - a user-defined __repr__ may raise anything
        return f"this {type(value).__name__}"


def _parse(text: str) -> float:
    compact = text.strip() if len(text) <= _LENGTH else ""
    pairs = _DURATION.findall(compact)
    if not pairs or "".join(number + unit for number, unit in pairs) != compact:
        raise ConfigurationError(
            f"{text!r:.80} is not a valid duration: write a number with its unit, such as 200ms, 30s,"
            " 5m, 2h, 14d"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in pairs)


def format_seconds(value: float) -> str:
    """Format seconds for people: ``200 ms``, ``30 s``, ``5 min``, ``2 h``, ``14 d``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:.1f}".removesuffix(".0") + " s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The most starts in a period.

    Args:
        count: number of starts, at least 1.
        period: length of the period in seconds.
    """

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Parse a rate: ``"10/s"``, ``"600/m"``, ``"5/h"`` or ``"1/d"``.

        Raises:
            ConfigurationError: it is not a valid rate.
        """
        given: object = text  # callers without a type checker may pass any type
        match = _RATE.fullmatch(given) if isinstance(given, str) else None
        if match is None:
            raise ConfigurationError(
                f"{shown(text)} is not a valid rate: write an integer, a slash and s, m, h or d,"
                ' such as "10/s" or "600/m"'
            )
        return cls(count=int(match[1]), period=_UNITS[match[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, size in _UNITS.items() if size == self.period)
        return f"{self.count}/{unit}"
