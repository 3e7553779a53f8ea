"""Ticks depend on the schedule and the period alone, whatever the windows by which one asks."""

import itertools
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from stem_amqp.schedules import (
    At,
    Cron,
    Every,
    Schedule,
    latest_ticks,
    next_ticks,
    ticks,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Cairo",
]
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2026, 4, 23, 22, tzinfo=UTC),
    datetime(2026, 12, 31, 23, tzinfo=UTC),
]
"""Moments at which clocks change in these zones, and the end of a year."""

minutes = st.sampled_from(["0", "30", "15,45", "*/10", "59", "1-5", "*"])
hours = st.sampled_from(["*", "2", "0", "23", "1-3", "*/2", "*/5", "0,12"])
days = st.sampled_from(["* * *", "* * mon-fri", "1,29 * *", "L * *", "* 3,10 sun"])
crons = st.builds(
    lambda minute, hour, day, zone: Cron(f"{minute} {hour} {day}", zone),
    minutes,
    hours,
    days,
    st.sampled_from(ZONES),
)
intervals = st.builds(
    Every,
    st.integers(1000, 10**8).map(lambda ms: ms / 1000),
    st.integers(-(10**12), 2 * 10**12).map(lambda ms: ms / 1000),
)
moments = st.builds(
    lambda change, offset: change.timestamp() + offset,
    st.sampled_from(CHANGES),
    st.floats(-40_000, 40_000, allow_nan=False) | st.integers(-24, 24).map(lambda n: n * 1800),
)
timings = st.one_of(crons, intervals, moments.map(lambda at: At(datetime.fromtimestamp(at, UTC))))


def of(timing, **options):
    return Schedule(name="x", task="t", timing=timing, **options)


def limited(schedule, after, until, most=500):
    found = []
    for tick in ticks(schedule, after, until):
        found.append(tick)
        if len(found) == most:
            break
    return found


@settings(max_examples=150, deadline=None)
@given(timings, moments, st.floats(0, 200_000), st.floats(0, 30))
def test_ticks_increase_and_are_within_their_period(timing, after, length, jitter):
    """Each tick is later than the one before; its run is later by at most the jitter."""
    jitter = min(jitter, timing.seconds) if isinstance(timing, Every) else jitter
    found = limited(of(timing, jitter=jitter), after, after + length)
    times = [tick.at for tick in found]
    assert all(one < other for one, other in itertools.pairwise(times))
    assert len({tick.id for tick in found}) == len(found)
    assert all(after < tick.at <= after + length for tick in found)
    assert all(0 <= tick.due - tick.at <= jitter + 0.001 for tick in found)


@settings(max_examples=150, deadline=None)
@given(timings, moments, st.lists(st.floats(0, 20_000), max_size=12))
def test_windows_that_follow_each_other_have_each_tick_once(timing, after, lengths):
    """No tick is missed or doubled at the border of two windows, not even where clocks change."""
    schedule, borders = of(timing), [after]
    for length in lengths:
        borders.append(borders[-1] + length)
    whole = limited(schedule, borders[0], borders[-1])
    end = whole[-1].at if len(whole) == 500 else borders[-1]
    pieces = [
        tick
        for low, high in itertools.pairwise(borders)
        for tick in ticks(schedule, min(low, end), min(high, end))
    ]
    assert pieces == whole


@settings(max_examples=100, deadline=None)
@given(timings, moments)
def test_a_window_that_ends_or_begins_at_a_tick(timing, after):
    """A period has the tick at its end, and not the one at its beginning."""
    schedule = of(timing)
    found = next_ticks(schedule, after, 3)
    for one, other in itertools.pairwise(found):
        assert list(ticks(schedule, one.at, other.at)) == [other]
        assert next_ticks(schedule, one.at) == [other]
    for tick in found:
        assert latest_ticks(schedule, tick.at - 1, tick.at) == [tick]


@settings(max_examples=100, deadline=None)
@given(timings, moments, st.floats(0, 100_000), st.integers(1, 5))
def test_the_latest_ticks_are_the_last_of_all(timing, after, length, count):
    """The bisection finds the same ticks as reading all of them."""
    schedule = of(timing)
    whole = limited(schedule, after, after + length, most=3000)
    if len(whole) < 3000:
        assert latest_ticks(schedule, after, after + length, count) == whole[-count:]
