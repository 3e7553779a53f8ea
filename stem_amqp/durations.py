"""Durations and rates as people write them: ``200ms``, ``30s``, ``5m``, ``14d``; ``10/s``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from stem_amqp.errors import ConfigurationError

Duration: TypeAlias = float | str | timedelta
"""Seconds as a number, a text such as ``"30s"``, or a `timedelta`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_RATE = re.compile(r"([1-9]\d*)/(s|m|h|d)")


def seconds(value: Duration) -> float:
    """Turn a duration into seconds.

    Args:
        value: a non-negative number of seconds, a text of one or more number-unit pairs
            (``ms``, ``s``, ``m``, ``h``, ``d``, ``w``) such as ``"1h30m"``, or a `timedelta`.

    Returns:
        The seconds.

    Raises:
        ConfigurationError: it is negative, or no duration.
    """
    if isinstance(value, timedelta):
        result = value.total_seconds()
    elif isinstance(value, str):
        result = _parse(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigurationError(f"{value!r} is no duration: write 200ms, 30s, 5m, 2h or 14d")
    else:
        result = float(value)
    # "not >=" also refuses NaN
    if not 0 <= result < float("inf"):
        raise ConfigurationError(f"the duration {value!r} must be finite and not negative")
    return result


def _parse(text: str) -> float:
    compact = text.strip()
    pairs = _DURATION.findall(compact)
    if not pairs or "".join(number + unit for number, unit in pairs) != compact:
        raise ConfigurationError(
            f"{text!r} is no duration: write a number with its unit, such as 200ms, 30s, 5m, 2h, 14d"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in pairs)


def format_seconds(value: float) -> str:
    """Write seconds the way people read them: ``200 ms``, ``30 s``, ``5 min``, ``2 h``, ``14 d``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= size:
            return f"{value / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:.1f}".removesuffix(".0") + " s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """So many starts in so many seconds.

    Args:
        count: starts, at least 1.
        period: seconds in which they may happen.
    """

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``"10/s"``, ``"600/m"``, ``"5/h"`` or ``"1/d"``.

        Raises:
            ConfigurationError: anything else.
        """
        match = _RATE.fullmatch(text)
        if match is None:
            raise ConfigurationError(
                f"{text!r} is no rate: write a whole number, a slash and s, m, h or d,"
                ' such as "10/s" or "600/m"'
            )
        return cls(count=int(match[1]), period=_UNITS[match[2]])

    def __str__(self) -> str:
        unit = next(unit for unit, size in _UNITS.items() if size == self.period)
        return f"{self.count}/{unit}"
