"""What cron lines and intervals do where clocks change, compared with every minute of the days around."""

import itertools
from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stem_amqp.schedules import Cron, Every, Schedule, ticks

CHANGES = [
    pytest.param("Europe/Berlin", date(2026, 3, 29), id="Berlin-gap"),
    pytest.param("Europe/Berlin", date(2026, 10, 25), id="Berlin-fold"),
    pytest.param("America/New_York", date(2026, 3, 8), id="New_York-gap"),
    pytest.param("America/New_York", date(2026, 11, 1), id="New_York-fold"),
    pytest.param("Australia/Lord_Howe", date(2026, 10, 4), id="Lord_Howe-gap-of-30-minutes"),
    pytest.param("Australia/Lord_Howe", date(2026, 4, 5), id="Lord_Howe-fold-of-30-minutes"),
    pytest.param("Africa/Cairo", date(2026, 4, 24), id="Cairo-gap-at-midnight"),
    pytest.param("Africa/Cairo", date(2026, 10, 29), id="Cairo-fold-at-midnight"),
    pytest.param("Antarctica/Troll", date(2026, 3, 29), id="Troll-gap-of-2-hours"),
    pytest.param("Antarctica/Troll", date(2026, 10, 25), id="Troll-fold-of-2-hours"),
    pytest.param("Asia/Kathmandu", date(2026, 3, 29), id="Kathmandu-without-changes"),
    pytest.param("UTC", date(2026, 3, 29), id="UTC"),
]
"""Zones, and days on which their clocks change."""


def local(found, tz):
    return [datetime.fromtimestamp(at, ZoneInfo(tz)).strftime("%a %H:%M%z") for at in found]


def between(timing, start, end):
    schedule = Schedule(name="x", task="t", timing=timing)
    return [tick.at for tick in ticks(schedule, start.timestamp(), end.timestamp())]


def around(day, tz):
    """Return every minute of the day and its neighbours: in UTC, and what the clock shows."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
    utc = [start + timedelta(minutes=minute) for minute in range(3 * 1440)]
    zone = ZoneInfo(tz)
    return {moment: moment.astimezone(zone).replace(tzinfo=None, fold=0) for moment in utc}


def named_once(minutes, matches):
    """Return the moments of a line that names hours: each time once, a skipped one after the gap."""
    first: dict[datetime, datetime] = {}
    for moment, shown in minutes.items():
        first.setdefault(shown, moment)
    shown_ever = sorted(first)
    count = (shown_ever[-1] - shown_ever[0]) // timedelta(minutes=1)
    calendar = (shown_ever[0] + timedelta(minutes=minute) for minute in range(count))
    # The first moment at which the clock shows this time, or a later one
    return {first[shown_ever[bisect_left(shown_ever, t)]] for t in calendar if matches(t)}


@pytest.mark.parametrize(("tz", "day"), CHANGES)
def test_a_fixed_time_runs_once_on_every_day(tz, day):
    """Every tenth minute of the day, as a line of its own: skipped ones run after the gap, doubled ones first."""
    minutes = around(day, tz)
    moments = list(minutes)
    start, end = moments[360], moments[-360]
    for minute in range(0, 1440, 10):
        line = f"{minute % 60} {minute // 60} * * *"
        expected = named_once(minutes, lambda t: (t.hour, t.minute) == divmod(minute, 60))  # noqa: B023
        found = between(Cron(line, tz), start, end)
        assert found == sorted(m.timestamp() for m in expected if start < m <= end), line


@pytest.mark.parametrize(("tz", "day"), CHANGES)
@pytest.mark.parametrize("hours", ["*", "0-23", "*/1"])
def test_a_line_for_every_hour_runs_whenever_the_clock_shows_its_minute(tz, day, hours):
    """Not in a skipped hour, and in both hours of a doubled one."""
    minutes = around(day, tz)
    moments = list(minutes)
    start, end = moments[360], moments[-360]
    for minute in (0, 1, 29, 30, 45, 59):
        found = between(Cron(f"{minute} {hours} * * *", tz), start, end)
        expected = [
            m.timestamp() for m, t in minutes.items() if t.minute == minute and start < m <= end
        ]
        assert found == expected


@pytest.mark.parametrize(("tz", "day"), CHANGES)
@pytest.mark.parametrize(
    ("line", "hours", "of_hour"),
    [
        ("*/10 0-4 * * *", range(5), range(0, 60, 10)),
        ("0 */2 * * *", range(0, 24, 2), [0]),
        ("0,30 1,2,3 * * *", [1, 2, 3], [0, 30]),
        ("15-45/15 23,0 * * *", [23, 0], [15, 30, 45]),
    ],
)
def test_several_fixed_times_run_once_each(tz, day, line, hours, of_hour):
    """Several skipped times run once after the gap."""
    minutes = around(day, tz)
    moments = list(minutes)
    start, end = moments[360], moments[-360]
    expected = named_once(minutes, lambda t: t.hour in hours and t.minute in of_hour)
    found = between(Cron(line, tz), start, end)
    assert found == sorted(m.timestamp() for m in expected if start < m <= end)


def test_what_berlin_shows():
    """The table of docs/schedules.md."""
    berlin = ZoneInfo("Europe/Berlin")
    spring = (datetime(2026, 3, 29, 1, tzinfo=berlin), datetime(2026, 3, 29, 4, tzinfo=berlin))
    autumn = (datetime(2026, 10, 25, 1, tzinfo=berlin), datetime(2026, 10, 25, 4, tzinfo=berlin))
    fixed, hourly = Cron("30 2 * * *", "Europe/Berlin"), Cron("30 * * * *", "Europe/Berlin")
    assert local(between(fixed, *spring), "Europe/Berlin") == ["Sun 03:00+0200"]
    assert local(between(fixed, *autumn), "Europe/Berlin") == ["Sun 02:30+0200"]
    assert local(between(hourly, *spring), "Europe/Berlin") == ["Sun 01:30+0100", "Sun 03:30+0200"]
    assert local(between(hourly, *autumn), "Europe/Berlin") == [
        "Sun 01:30+0200",
        "Sun 02:30+0200",
        "Sun 02:30+0100",
        "Sun 03:30+0100",
    ]


def test_seconds_in_a_doubled_hour():
    """A line with seconds follows the same rules."""
    start = datetime(2026, 10, 24, 23, 59, 50, tzinfo=UTC)
    hourly = between(Cron("*/30 0 * * * *", "Europe/Berlin"), start, start + timedelta(hours=2))
    assert local(hourly, "Europe/Berlin") == [
        "Sun 02:00+0200",
        "Sun 02:00+0200",
        "Sun 02:00+0100",
        "Sun 02:00+0100",
    ]
    fixed = between(Cron("*/30 0 2 * * *", "Europe/Berlin"), start, start + timedelta(hours=2))
    assert fixed == hourly[:2]


def test_a_day_that_does_not_exist():
    """Samoa had no 30 December 2011: what it missed runs when the 31st begins."""
    start = datetime(2011, 12, 29, 12, tzinfo=ZoneInfo("Pacific/Apia"))
    end = datetime(2011, 12, 31, 12, tzinfo=ZoneInfo("Pacific/Apia"))
    found = between(Cron("0 9 * * *", "Pacific/Apia"), start, end)
    assert local(found, "Pacific/Apia") == ["Sat 00:00+1400", "Sat 09:00+1400"]


def test_an_interval_is_elapsed_time():
    """An interval ignores that the clock changes."""
    start = datetime(2026, 3, 29, tzinfo=UTC)
    found = between(Every(1800), start, start + timedelta(hours=3))
    assert [b - a for a, b in itertools.pairwise(found)] == [1800.0] * 5


def test_lines_at_and_over_midnight():
    """The last second of a day, the first of the next, and a day of the week that changes between."""
    start = datetime(2026, 11, 29, 12, tzinfo=ZoneInfo("Asia/Kathmandu"))
    end = start + timedelta(days=1)

    def found(line):
        return local(between(Cron(line, "Asia/Kathmandu"), start, end), "Asia/Kathmandu")

    assert found("59 23 * * *") == ["Sun 23:59+0545"]
    assert found("0 0 * * *") == ["Mon 00:00+0545"]
    assert found("59 59 23 * * sun") == ["Sun 23:59+0545"]
    assert found("30 23,0 * * sun,mon") == ["Sun 23:30+0545", "Mon 00:30+0545"]
    assert found("0 0 * * sun") == []
