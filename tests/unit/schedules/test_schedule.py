"""The schedule: its checks, ids, jitter, period and misfire policy."""

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone

import pytest

from stem_amqp import Stem
from stem_amqp.errors import ArgumentsError, ConfigurationError
from stem_amqp.schedules import (
    At,
    Cron,
    Every,
    Misfire,
    Schedule,
    latest_ticks,
    missed_ticks,
    next_ticks,
    tick_id,
    ticks,
)
from stem_amqp.tasks.options import CallOptions

START = datetime(2026, 3, 1, tzinfo=UTC)


def make(timing=Every(60), **options):
    return Schedule(**{"name": "report", "task": "orders.report", "timing": timing} | options)


def test_the_id_of_a_tick():
    """It is the schedule's name and the time, so every process computes the same one."""
    (tick,) = next_ticks(make(), START.timestamp())
    assert tick.id == "report@2026-03-01T00:01:00.000Z"
    assert tick_id("report", tick.at) == tick.id
    assert tick.moment == START + timedelta(minutes=1)
    assert tick.due == tick.at


def test_a_schedule_is_frozen():
    """It is a value: a change makes another one."""
    with pytest.raises(FrozenInstanceError):
        make().name = "other"
    assert make() == make()


def test_intervals_begin_at_the_epoch_or_their_anchor():
    """So every process computes the same ticks, and a restart does not move them."""
    assert Every(3600).after(1800) == 3600
    assert Every(3600, anchor=60).after(1800) == 3660
    assert Every(3600, anchor=10**9 + 60).after(0) == (10**9 + 60) % 3600
    assert Every(0.1).after(0.3) == 0.4
    assert str(Every(5400)) == "every 1.5 h"


@pytest.mark.parametrize("seconds", [0, 0.05, -1, 1e12, float("nan"), float("inf")])
def test_an_interval_has_limits(seconds):
    """An interval of 0 has no ticks, or all."""
    with pytest.raises(ConfigurationError, match="an interval must be from 100ms to ten years"):
        Every(seconds)


def test_one_time():
    """It ticks once, in any zone."""
    at = At(datetime(2026, 3, 1, 9, tzinfo=timezone(timedelta(hours=1))))
    assert [tick.id for tick in ticks(make(at), 0, float("inf"))] == [
        "report@2026-03-01T08:00:00.000Z"
    ]
    assert At("2026-03-01T09:00:00+01:00") == at
    assert str(at) == "once at 2026-03-01T08:00:00.000Z"


def test_a_time_needs_a_zone():
    """Which hour is meant would depend on the machine."""
    with pytest.raises(
        ConfigurationError, match="at: 2026-03-01T09:00:00 has no time zone\n  Add the"
    ):
        At(datetime(2026, 3, 1, 9))
    with pytest.raises(ConfigurationError, match="at must be a time such as 2027-03-01T"):
        At("tomorrow")


def test_start_and_end_are_inclusive():
    """The first and the last tick may be at them."""
    schedule = make(start=START, end=START + timedelta(minutes=2))
    found = list(ticks(schedule, 0, float("inf")))
    assert [tick.moment for tick in found] == [START + timedelta(minutes=m) for m in range(3)]
    assert latest_ticks(schedule, 0, float(2**40))[0] == found[-1]


def test_a_disabled_schedule_has_no_ticks():
    """It stays in lists."""
    assert next_ticks(make(enabled=False), 0, 3) == []


def test_jitter_is_the_same_in_every_process():
    """It is computed from the id, spreads over its length, and depends on the schedule's name."""
    schedule = make(jitter=60.0)
    found = next_ticks(schedule, START.timestamp(), 200)
    late = [tick.due - tick.at for tick in found]
    assert late == [tick.due - tick.at for tick in next_ticks(schedule, START.timestamp(), 200)]
    assert 0 <= min(late) < 6
    assert 54 < max(late) <= 60
    assert 25 < sum(late) / len(late) < 35
    other = next_ticks(make(jitter=60.0, name="other"), START.timestamp(), 200)
    assert [tick.due for tick in other] != [tick.due for tick in found]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "a b"}, "'a b' is not a valid name of a schedule"),
        ({"name": "x@y"}, "'x@y' is not a valid name of a schedule"),
        ({"name": None}, "None is not a valid name of a schedule"),
        (
            {"start": START, "end": START - timedelta(days=1)},
            "the end 2026-02-28T00:00:00.000Z is before the start 2026-03-01T00:00:00.000Z",
        ),
        (
            {"start": START, "end": START + timedelta(seconds=30), "timing": Cron("0 9 * * *")},
            r"0 9 \* \* \* \(UTC\) has no tick from 2026-03-01T00:00:00.000Z to 2026-03-01T00:00:30",
        ),
        ({"start": START, "timing": At(START - timedelta(days=1))}, "has no tick from 2026-03-01"),
        ({"jitter": -1.0}, "the jitter must be from 0s to 7d"),
        ({"jitter": 61.0}, "the jitter of 1 min is longer than the interval of 1 min"),
        ({"options": CallOptions(task_id="x")}, "the option task_id is not possible"),
        ({"options": CallOptions(delay=5.0)}, "the option delay is not possible"),
        ({"options": CallOptions(eta=START)}, "the option eta is not possible"),
        ({"options": CallOptions(expires=START)}, "expires must be a duration"),
    ],
)
def test_what_a_schedule_cannot_be(options, error):
    """The error has the schedule's name and the remedy."""
    with pytest.raises(ConfigurationError, match=error):
        make(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"policy": "never"}, "misfire must be 'skip', 'once' or 'all', not 'never'"),
        ({"policy": "all", "limit": 0}, "the limit must be an integer from 1 to 10000, not 0"),
        ({"policy": "all", "limit": True}, "the limit must be an integer"),
        ({"grace": -1}, "the grace must be from 0s to 366d"),
    ],
)
def test_what_a_misfire_policy_cannot_be(options, error):
    """A wrong value is refused where it is written."""
    with pytest.raises(ConfigurationError, match=error):
        Misfire(**options)


@pytest.mark.parametrize(
    ("misfire", "minutes"),
    [
        (Misfire("skip"), []),
        (Misfire("once"), [59]),
        (Misfire("all"), list(range(1, 60))),
        (Misfire("all", limit=3), [57, 58, 59]),
        (Misfire("once", grace=0), [60]),
        (Misfire("once", grace=1800), [30]),
    ],
)
def test_ticks_that_passed_without_a_scheduler(misfire, minutes):
    """An hour passed; what is younger than the grace is not missed."""
    now = START + timedelta(hours=1)
    found = missed_ticks(make(misfire=misfire), START.timestamp(), now.timestamp())
    assert [tick.moment for tick in found] == [START + timedelta(minutes=m) for m in minutes]


def test_nothing_was_missed():
    """The last published tick is younger than the grace."""
    now = START + timedelta(seconds=90)
    assert missed_ticks(make(), (START + timedelta(minutes=1)).timestamp(), now.timestamp()) == []


def test_the_schedules_of_a_blueprint():
    """They are checked against the tasks, and their arguments are those of a message."""
    stem = Stem(broker_url="memory://")

    @stem.task("orders.report")
    async def report(day: datetime, pages: int = 1) -> None: ...

    stem.blueprint.defined_schedules.add(make(args={"day": "2026-03-01T00:00Z", "pages": 2}))
    found = stem.blueprint.schedules
    assert dict(found["report"].args) == {"day": "2026-03-01T00:00:00Z", "pages": 2}
    with pytest.raises(TypeError):
        found["other"] = make()  # a view that nobody changes
    with pytest.raises(
        ConfigurationError, match=r"two schedules have the name report: every 1 min for"
    ):
        stem.blueprint.defined_schedules.add(make(task="orders.other"))


def test_schedules_that_do_not_fit_their_tasks():
    """An unknown task, and arguments of another type."""
    stem = Stem(broker_url="memory://")

    @stem.task("orders.report")
    async def report(pages: int) -> None: ...

    stem.blueprint.defined_schedules.add(make(task="order.report"))
    with pytest.raises(
        ConfigurationError, match=r"no task order.report; did you mean orders.report\?"
    ):
        _ = stem.blueprint.schedules
    other = Stem(broker_url="memory://")
    other.task("orders.report")(report.definition.function)
    other.blueprint.defined_schedules.add(make(args={"pages": "many"}))
    with pytest.raises(
        ArgumentsError, match=r"schedule report: the arguments do not fit orders.report"
    ):
        _ = other.blueprint.schedules


def test_a_process_without_tasks_takes_every_task():
    """It only schedules; workers have the code."""
    stem = Stem(broker_url="memory://")
    stem.blueprint.defined_schedules.add(make(args={"pages": 2}))
    assert dict(stem.blueprint.schedules["report"].args) == {"pages": 2}
