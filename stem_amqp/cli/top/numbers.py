"""Numbers, rates and times in a few characters."""

from __future__ import annotations

from stem_amqp.cli.output import NOTHING

_STEPS = ((86400, "d"), (3600, "h"), (60, "m"))
_UNITS = ((1_000_000_000, "G"), (1_000_000, "M"))
_TEN = 10
_EXACT = 1_000_000
_MEGABYTE = 1024 * 1024


def number(value: float | None) -> str:
    """Return a count: ``12345``, ``2.5M``; a dash if it is not known."""
    if value is None:
        return NOTHING
    if value < _EXACT:
        return f"{value:.0f}"
    size, unit = next(step for step in _UNITS if value >= step[0])
    return f"{value / size:.1f}{unit}"


def rate(value: float | None) -> str:
    """Return a number per second: ``0``, ``0.4``, ``35``, ``1250``."""
    if value is None:
        return NOTHING
    return number(value) if value >= _TEN else f"{value:.1f}".removesuffix(".0")


def short(seconds: float | None) -> str:
    """Return a time: ``40ms``, ``12s``, ``3m``, ``2h``, ``5d``."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f}ms"
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def memory(size: int) -> str:
    """Return bytes in megabytes; a dash if they are not known."""
    return f"{size / _MEGABYTE:.0f}M" if size else NOTHING
