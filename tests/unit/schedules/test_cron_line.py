"""Mistakes in cron lines: which field, and what to write."""

from datetime import UTC, datetime

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules import Cron

MISTAKES = {
    "61 * * * *": "the minute must be from 0 to 59, not 61",
    "* 24 * * *": "the hour must be from 0 to 23, not 24",
    "0 0 0 * *": "the day of the month must be from 1 to 31, not 0",
    "0 0 * 13 *": "the month must be from 1 to 12, not 13",
    "0 0 * * 8": "the day of the week must be from 0 to 7, not 8",
    "60 * * * * *": "the second must be from 0 to 59, not 60",
    "0 0 * * 2026": "the day of the week must be from 0 to 7, not 2026",
    "0 9 * * monday-fri": "'monday' is not a day of the week; did you mean mon?",
    "0 9 * * mon-frj": "'frj' is not a day of the week; did you mean fri?",
    "0 9 1 janury *": "'janury' is not a month; did you mean jan?",
    "1.5 * * * *": "'1.5' is not a minute\n  The minute is a number from 0 to 59, or *",
    "0 0 * * ٣": "'٣' is not a day of the week\n  The day of the week is a number from 0 to 7, or sun to sat",
    "1,,2 * * * *": "the minute has an empty term",
    "-5 * * * *": "the minute has an empty term",
    "0 9 * * fri-mon": "the range fri-mon of the day of the week ends before it begins\n"
    "  Write fri-sat,sun-mon",
    "0 9 * * 5-1": "the range 5-1 of the day of the week ends before it begins\n  Write 5-6,0-1",
    "0 9 5-1 * *": "the range 5-1 of the day of the month ends before it begins\n  Write 5-31,1",
    "0 9 * nov-feb *": "the range nov-feb of the month ends before it begins\n"
    "  Write nov-dec,jan-feb",
    "*/0 * * * *": "the step '0' of the minute must be a number from 1 to 59",
    "5,*/70 * * * *": "the step '70' of the minute must be a number from 1 to 59",
    "*/5/2 * * * *": "the step '5/2' of the minute must be a number from 1 to 59",
    "0 */25 * * *": "the step '25' of the hour must be a number from 1 to 23",
    "0 0 * * mon#6": "'mon#6' of the day of the week: the number behind # must be from 1 to 5",
    "0 0 ? * mon": "the day of the month is ?, which only Quartz knows; write *",
    "0 0 30 2 *": "no date matches it\n  Compare the day of the month with the month",
    "0 0 31 4,6 *": "no date matches it",
    "@daily": 'write "0 0 * * *" instead',
    "* * * *": "it has 4 fields instead of 5\n  Write minute, hour, day of the month, month",
    "": "it has 0 fields instead of 5",
    "0 0 1 1 * * 2026": "it has 7 fields instead of 5; a field for the year is not supported",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_the_field_and_the_remedy(line):
    """The error has the line, the field, the mistake, and what was meant."""
    with pytest.raises(ConfigurationError) as error:
        Cron(line)
    assert f"cron line {line!r}: {MISTAKES[line]}" in str(error.value)


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00"),
        ("  0   9 * * 1 ", "2026-01-05T09:00:00"),
        ("0 9 * * 7", "2026-01-04T09:00:00"),
        ("0 9 * * mon#2", "2026-01-12T09:00:00"),
        ("0 9 * * 5L", "2026-01-30T09:00:00"),
        ("0 9 L * *", "2026-01-31T09:00:00"),
        ("0 9 LW * *", "2026-01-30T09:00:00"),
        ("0 9 1,L * *", "2026-01-01T09:00:00"),
        ("0 9 13 * fri", "2026-01-02T09:00:00"),
        ("0 9 * jul,dec */2", "2026-07-02T09:00:00"),
        ("5/20 0 * * *", "2026-01-01T00:05:00"),
        ("15 30 9 * * *", "2026-01-01T09:30:15"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
    ],
)
def test_what_a_line_can_say(line, first):
    """Names, steps, ranges, the last day, the n-th day of the week, and seconds."""
    start = datetime(2026, 1, 1, tzinfo=UTC).timestamp() - 1
    found = Cron(line).after(start)
    assert datetime.fromtimestamp(found, UTC).isoformat() == f"{first}+00:00"


def test_the_text_has_single_spaces():
    """Two lines that differ in spaces are equal."""
    assert Cron(" 0  9 * * * ") == Cron("0 9 * * *")
    assert str(Cron("0 9 * * *", "Europe/Berlin")) == "0 9 * * * (Europe/Berlin)"


@pytest.mark.parametrize("line", [None, 5, ["0 9 * * *"], "x" * 1000])
def test_what_is_not_a_line(line):
    """Another type, or a text without an end."""
    with pytest.raises(ConfigurationError, match="a cron line"):
        Cron(line)


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ("Europe/Belrin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("New York", "America/New_York"),
        ("Asia/Katmandoo", "Asia/Katmandu"),
    ],
)
def test_an_unknown_zone_names_the_one_that_was_meant(zone, meant):
    """By its spelling, its case, or its city."""
    with pytest.raises(ConfigurationError) as error:
        Cron("0 9 * * *", zone)
    assert f"there is no time zone {zone!r}; did you mean {meant}?" in str(error.value)


@pytest.mark.parametrize(
    "zone", ["", None, 1, "../../etc/passwd", "/etc/passwd", "Mars/Phobos", "a\0b"]
)
def test_what_is_not_a_zone(zone):
    """No file outside of the database is read."""
    with pytest.raises(ConfigurationError, match="time zone"):
        Cron("0 9 * * *", zone)


def test_a_zone_without_changes_to_the_end_of_the_calendar():
    """The search for changes ends."""
    last = datetime(9998, 12, 31, 23, tzinfo=UTC).timestamp()
    assert Cron("0 9 * * *", "Europe/Berlin").after(last) is not None
    assert Cron("0 9 1 1 *").after(datetime(9999, 1, 2, tzinfo=UTC).timestamp()) is None
