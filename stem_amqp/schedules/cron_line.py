"""Cron lines: which field has a mistake, and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cronsim import CronSim, CronSimError

from stem_amqp.durations import shown
from stem_amqp.errors import ConfigurationError

_LONGEST = 400
"""The longest cron line, in characters."""
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_MONDAY_TO_FRIDAY = "0 9 * * mon-fri"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """A field of a cron line.

    Args:
        name: its name, for errors.
        low: its lowest number.
        high: its highest number.
        words: the long names of its values, whose first three letters a line may use.
        special: other terms that it may have.
    """

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    special: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(word[:3] for word in self.words)


_FIELDS = (
    _Field(name="second", low=0, high=59),
    _Field(name="minute", low=0, high=59),
    _Field(name="hour", low=0, high=23),
    _Field(name="day of the month", low=1, high=31, special=r"l|lw"),
    _Field(name="month", low=1, high=12, words=tuple(_MONTHS)),
    _Field(name="day of the week", low=0, high=7, words=tuple(_DAYS), special=r"[0-7]l"),
)
_HOUR = 2


def check_line(text: object) -> str:
    """Return a cron line with single spaces, checked.

    Args:
        text: 5 fields (minute, hour, day of the month, month, day of the week), or 6 with the second first.

    Raises:
        ConfigurationError: it has a mistake; the error names the field and what to write.
    """
    if not isinstance(text, str):
        raise ConfigurationError(
            f'a cron line must be a text such as "{_MONDAY_TO_FRIDAY}", not {shown(text)}'
        )
    if len(text) > _LONGEST:
        raise ConfigurationError(f"a cron line has at most {_LONGEST} characters, not {len(text)}")
    line = " ".join(text.split())
    fields = fields_of(line)
    for field, given in zip(_FIELDS, fields, strict=True):
        for term in given.lower().split(","):
            problem = _problem(field, term)
            if problem:
                raise ConfigurationError(f"cron line {shown(line)}: {problem}")
    try:
        next(CronSim(line, datetime(2000, 1, 1)))  # noqa: DTZ001 - a date of the calendar
    except CronSimError as error:
        raise ConfigurationError(f"cron line {shown(line)}: {_whole(str(error))}") from None
    except StopIteration:
        raise ConfigurationError(f"cron line {shown(line)}: {_whole('')}") from None
    return line


def fields_of(line: str) -> list[str]:
    """Return the six fields of a line; the second of a line with five fields is 0.

    Raises:
        ConfigurationError: it has another number of fields.
    """
    macro = _MACROS.get(line.lower())
    if macro is not None:
        raise ConfigurationError(f'cron line {shown(line)}: write "{macro}" instead')
    fields = line.split()
    if len(fields) == len(_FIELDS) - 1:
        return ["0", *fields]
    if len(fields) == len(_FIELDS):
        return fields
    last = fields[-1] if fields else ""
    year = "; a field for the year is not supported" if re.fullmatch(r"\d{4}", last) else ""
    raise ConfigurationError(
        f"cron line {shown(line)}: it has {len(fields)} fields instead of 5{year}\n"
        "  Write minute, hour, day of the month, month, day of the week, such as"
        f' "{_MONDAY_TO_FRIDAY}"; a sixth field in front is the second'
    )


def covers_every_hour(line: str) -> bool:
    """Return whether the hour of a line has every value, as ``*`` or ``0-23``."""
    hours: set[int] = set()
    for term in fields_of(line)[_HOUR].split(","):
        hours.update(_numbers(_FIELDS[_HOUR], term))
    return len(hours) == _FIELDS[_HOUR].high + 1


def _numbers(field: _Field, term: str) -> Iterator[int]:
    span, _, step = term.partition("/")
    if span == "*":
        low, high = field.low, field.high
    elif "-" in span:
        low, high = map(int, span.split("-"))
    else:
        low = int(span)
        high = field.high if step else low
    yield from range(low, high + 1, int(step or 1))


def _problem(field: _Field, term: str) -> str:
    """Return what is wrong with a term of a field, such as ``1-5`` of ``1-5,7``; empty if nothing is."""
    if field.special and re.fullmatch(field.special, term):
        return ""
    span, slash, step = term.partition("/")
    problem = _step_problem(field, step) if slash else ""
    if problem or span == "*":
        return problem
    if span == "?":
        return f"the {field.name} is ?, which only Quartz knows; write *"
    if field.name == "day of the week" and "#" in span and not slash:
        span, _, nth = span.partition("#")
        if nth not in {"1", "2", "3", "4", "5"}:
            return f"{shown(term)} of the {field.name}: the number behind # must be from 1 to 5"
    return _span_problem(field, span.split("-") if span.count("-") == 1 else [span])


def _step_problem(field: _Field, step: str) -> str:
    most = field.high - field.low
    if re.fullmatch(r"[0-9]{1,4}", step) and 1 <= int(step) <= most:
        return ""
    return f"the step {shown(step)} of the {field.name} must be a number from 1 to {most}"


def _span_problem(field: _Field, parts: list[str]) -> str:
    for part in parts:
        problem = _value_problem(field, part)
        if problem:
            return problem
    low, high = parts[0], parts[-1]
    return _reversed(field, low, high) if _value(field, low) > _value(field, high) else ""


def _value(field: _Field, text: str) -> int:
    return int(text) if text.isdigit() else field.low + field.names.index(text)


def _value_problem(field: _Field, text: str) -> str:
    limits = f"{field.low} to {field.high}"
    if re.fullmatch(r"[0-9]{1,9}", text):
        if field.low <= int(text) <= field.high:
            return ""
        return f"the {field.name} must be from {limits}, not {text}"
    if text in field.names:
        return ""
    names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    known = {name: name for name in field.names} | {word: word[:3] for word in field.words}
    close = difflib.get_close_matches(text, known, n=1)
    meant = f"; did you mean {known[close[0]]}?" if close else ""
    given = (
        f"{shown(text)} is not a {field.name}" if text else f"the {field.name} has an empty term"
    )
    return f"{given}{meant}\n  The {field.name} is a number from {limits}{names}, or *"


def _reversed(field: _Field, low: str, high: str) -> str:
    last, first = (
        (field.names[-1], field.names[0]) if low in field.names else (field.high, field.low)
    )
    if field.name == "day of the week" and low.isdigit():
        last = 6
    parts = [
        str(begin) if str(begin) == str(end) else f"{begin}-{end}"
        for begin, end in ((low, last), (first, high))
    ]
    return (
        f"the range {low}-{high} of the {field.name} ends before it begins\n"
        f"  Write {','.join(parts)}"
    )


def _whole(problem: str) -> str:
    """Return the problem of a line whose fields are valid one by one."""
    if problem and "day-of-month" not in problem:
        return f"cronsim refuses it: {problem}"
    return "no date matches it\n  Compare the day of the month with the month: a 30 February never comes"
