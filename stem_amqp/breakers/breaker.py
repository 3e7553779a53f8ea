"""What a breaker allows: how many failures of how many runs, and for how long it pauses."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from stem_amqp.durations import Duration, format_seconds, seconds, shown
from stem_amqp.errors import ConfigurationError

FAILURES = "50%"
OF = 20
WITHIN = 60.0
PAUSE = 30.0
MOST_RUNS = 10_000
"""The most runs that a breaker remembers."""
SHORTEST = 0.1
"""The shortest pause in seconds: the unit in which workers react."""
LONGEST = 86_400.0
"""The longest pause and the longest time within which runs count, in seconds: a day."""
GROWTH = 10.0
"""The longest pause, in pauses, unless it is set."""
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?) ?%")
KEYS = ("failures", "of", "within", "pause", "max_pause")


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """Pause a queue or a task while too many of its runs fail.

    It opens when, of the last ``of`` runs, at least ``failures`` failed, and all of them ended within
    ``within``. After ``pause``, one run decides: if it succeeds, the queue or task goes on; if it fails,
    the next pause is twice as long, at most ``max_pause``.

    Args:
        failures: a share such as ``"50%"``, or a number of runs.
        of: the number of runs that count, the latest ones.
        within: the time within which they must have ended: seconds, or a text such as ``"1m"``.
        pause: the first pause: seconds, or a text such as ``"30s"``.
        max_pause: the longest pause; default: ten pauses.

    Raises:
        ConfigurationError: a value is not valid.
    """

    failures: int | str = FAILURES
    of: int = OF
    within: Duration = WITHIN
    pause: Duration = PAUSE
    max_pause: Duration | None = None

    def __post_init__(self) -> None:
        problem = count_problem(self.of)
        if problem:
            raise ConfigurationError(f"breaker: of {problem}")
        needed(self.failures, self.of)
        for name in ("within", "pause"):
            value = _duration(name, getattr(self, name))
            object.__setattr__(self, name, value)
        longest = self.max_pause
        if longest is None:
            longest = min(seconds_of(self.pause) * GROWTH, LONGEST)
        object.__setattr__(self, "max_pause", _duration("max_pause", longest))
        if seconds_of(self.max_pause) < seconds_of(self.pause):
            raise ConfigurationError(
                f"breaker: max_pause ({format_seconds(seconds_of(self.max_pause))}) is shorter than pause"
                f" ({format_seconds(seconds_of(self.pause))})\n  pause is the first pause, max_pause the longest one"
            )

    @classmethod
    def parse(cls, value: Self | Mapping[str, Any]) -> Breaker:
        """Read a breaker, or its keys as a mapping.

        Args:
            value: a breaker, or a mapping such as ``{"failures": "50%", "of": 20}``.

        Raises:
            ConfigurationError: a key is unknown or a value is not valid.
        """
        if isinstance(value, Breaker):
            return value
        given: object = value
        if not isinstance(given, Mapping):
            raise ConfigurationError(
                f"breaker must be a mapping of {', '.join(KEYS)}, not {shown(value)}\n"
                '  Write for example {"failures": "50%", "of": 20, "within": "1m", "pause": "30s"}'
            )
        for name in given:
            if name not in KEYS:
                close = difflib.get_close_matches(str(name), KEYS, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ConfigurationError(
                    f"breaker: unknown key {shown(name)}{hint}\n  The keys are {', '.join(KEYS)}"
                )
        return cls(**{name: one for name, one in given.items() if one is not None})

    @property
    def needed(self) -> int:
        """The number of failures that open it."""
        return needed(self.failures, self.of)

    def pause_after(self, trips: int) -> float:
        """Return the length of a pause in seconds.

        Args:
            trips: how often it has opened since it was last closed, at least 1.
        """
        # 2 ** 64 pauses are longer than any max_pause
        return min(seconds_of(self.pause) * 2.0 ** min(trips - 1, 64), seconds_of(self.max_pause))

    def __str__(self) -> str:
        return (
            f"{self.failures} of {self.of} failures within {format_seconds(seconds_of(self.within))}"
            f" pause it for {format_seconds(seconds_of(self.pause))}"
        )


def seconds_of(value: Duration | None) -> float:
    """Return a checked duration in seconds."""
    return seconds(0 if value is None else value)


def needed(failures: object, of: int) -> int:
    """Return the number of failures that open a breaker.

    Args:
        failures: a share such as ``"50%"``, rounded up to whole runs, or a number of runs.
        of: the number of runs that count.

    Raises:
        ConfigurationError: it is neither, or out of range.
    """
    problem = failures_problem(failures)
    if problem:
        raise ConfigurationError(f"breaker: failures {problem}")
    if isinstance(failures, str):
        share = float(failures.strip().rstrip("%"))
        # 29.0000001 runs are 29: a share such as 58% of 50 is not exact in binary
        return max(1, math.ceil(round(share * of / 100, 6)))
    number = int(str(failures))
    if number > of:
        raise ConfigurationError(
            f"breaker: failures is {number}, but only the last {of} runs count (of)\n"
            f"  Write at most {of}, or a share such as 50%"
        )
    return number


def failures_problem(value: object) -> str:
    """Return what is wrong with the value of ``failures`` on its own; empty if nothing is."""
    hint = "\n  Write a share such as 50%, or a number of runs such as 10"
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        if match is None:
            return (
                f"must be a share with a percent sign or a number of runs, not {shown(value)}{hint}"
            )
        if not 0 < float(match[1]) <= 100:  # noqa: PLR2004 - percent
            return f"must be more than 0% and at most 100%, not {value}{hint}"
        return ""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a share with a percent sign or a number of runs, not {shown(value)}{hint}"
    return "" if value >= 1 else f"must be at least 1, not {value}{hint}"


def count_problem(value: object) -> str:
    """Return what is wrong with the value of ``of``; empty if nothing is."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_RUNS:
        return f"must be a whole number of runs from 1 to {MOST_RUNS}, not {shown(value)}"
    return ""


def duration_problem(value: float) -> str:
    """Return what is wrong with a duration in seconds; empty if nothing is."""
    if SHORTEST <= value <= LONGEST:
        return ""
    return f"must be from 100ms to 1d, not {value:g} seconds"


def _duration(name: str, value: Duration) -> float:
    try:
        result = seconds(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"breaker: {name}: {error}") from None
    problem = duration_problem(result)
    if problem:
        raise ConfigurationError(f"breaker: {name} {problem}\n  Write for example 30s or 5m")
    return result
