"""Schedules in the testing kit: `advance` enqueues and runs each tick at its time."""

from datetime import UTC, datetime

import pytest

from stem_amqp import Stem, TaskContext
from stem_amqp.errors import ConfigurationError, PublishRefusedError
from stem_amqp.testing import ManualClock, in_memory

SUNDAY = datetime(2026, 3, 29, tzinfo=UTC)
"""The day on which clocks in Berlin are put forward."""


@pytest.fixture
def stem():
    return Stem(broker_url="memory://")


def at(stem, moment=SUNDAY):
    return in_memory(stem, ManualClock(start=moment.timestamp()))


async def test_each_tick_in_the_advanced_time_is_enqueued_and_run(stem):
    """The tasks run at the times of their ticks, those of several schedules in order, with delays between."""
    ran = []

    @stem.every("8h")
    @stem.task("shop.sync")
    async def sync(ctx: TaskContext) -> None:
        ran.append((memory.clock.time(), ctx.id))
        if ctx.id.endswith("08:00:00.000Z"):
            await follow.options(delay="1h").enqueue()

    @stem.cron("30 2 * * *", tz="Europe/Berlin", args={"country": "de"})
    @stem.task("shop.report")
    async def report(ctx: TaskContext, country: str) -> str:
        ran.append((memory.clock.time(), ctx.id))
        return country

    @stem.task("shop.follow")
    async def follow() -> None:
        ran.append((memory.clock.time(), "follow"))

    with at(stem) as memory:
        outcomes = await memory.advance("1d", raise_errors=True)
        memory.assert_enqueued(report, "de", times=1)
        memory.assert_enqueued(sync, times=3)
    hours = [(moment - SUNDAY.timestamp()) / 3600 for moment, _ in ran]
    assert hours == [1.0, 8.0, 9.0, 16.0, 24.0]  # 02:30 does not exist: 03:00 in Berlin
    assert [name for _, name in ran] == [
        "shop.report@2026-03-29T01:00:00.000Z",
        "shop.sync@2026-03-29T08:00:00.000Z",
        "follow",
        "shop.sync@2026-03-29T16:00:00.000Z",
        "shop.sync@2026-03-30T00:00:00.000Z",
    ]
    assert outcomes[0].result == "de"


async def test_periods_that_follow_each_other_have_each_tick_once(stem):
    """A tick at the border of two periods belongs to the first one."""

    @stem.every("1h", jitter="30m")
    @stem.task("shop.sync")
    async def sync() -> None: ...

    with at(stem) as memory:
        for _ in range(8):
            await memory.advance("30m")
        await memory.advance("30m")  # a jitter may be longer than the last period
        ids = [task.id for task in memory.enqueued(sync)]
    assert ids == [f"shop.sync@2026-03-29T0{hour}:00:00.000Z" for hour in range(1, 5)]


async def test_time_without_workers_still_has_a_scheduler(stem):
    """The ticks wait in the queue."""

    @stem.every("1h", options={"queue": "slow", "meta": {"by": "schedule"}})
    @stem.task("shop.sync")
    async def sync() -> None: ...

    with at(stem) as memory:
        assert await memory.advance("3h", working=False) == []
        memory.assert_enqueued(sync, queue="slow", meta={"by": "schedule"}, times=3)
        assert len(await memory.run_due()) == 3


@pytest.mark.parametrize(("misfire", "count"), [("skip", 0), ("once", 1), ("all", 23)])
async def test_a_time_without_a_scheduler(stem, misfire, count):
    """Whoever moves the clock itself has no scheduler meanwhile: the misfire policy decides."""

    @stem.every("1h", misfire=misfire)
    @stem.task("shop.sync")
    async def sync() -> None: ...

    with at(stem) as memory:
        memory.clock.advance(23.5 * 3600)
        outcomes = await memory.advance("10m")
    assert len(outcomes) == count


async def test_a_unique_task_drops_the_tick(stem):
    """As with a scheduler: the run before has not ended."""

    @stem.every("1h")
    @stem.task("shop.sync", unique=True)
    async def sync() -> None: ...

    with at(stem) as memory:
        await memory.advance("3h", working=False)
        assert len(memory.enqueued(sync)) == 1


def test_in_a_synchronous_test(stem):
    """`advance_blocking` drives schedules too."""

    @stem.cron("0 9 * * mon")
    @stem.task("shop.sync")
    def sync() -> str:
        return "done"

    with at(stem) as memory:
        assert [one.result for one in memory.advance_blocking("14d")] == ["done", "done"]


async def test_run_due_runs_no_schedule(stem):
    """It does not move the clock."""

    @stem.every("1h")
    @stem.task("shop.sync")
    async def sync() -> None: ...

    with at(stem) as memory:
        assert await memory.run_due() == []


async def test_schedules_that_cannot_be_used(stem):
    """The error is that of the scheduler's start."""
    stem.task("shop.sync")(lambda: None)
    stem.schedule("a", "shop.snc", every="1h")
    with at(stem) as memory, pytest.raises(ConfigurationError, match=r"did you mean shop\.sync"):
        await memory.advance("1h")


async def test_a_broker_that_refuses_a_tick(stem):
    """The test sees why nothing was enqueued."""

    @stem.every("1h")
    @stem.task("shop.sync")
    async def sync() -> None: ...

    with at(stem) as memory:
        memory.broker.refuse_publishes(PublishRefusedError("full"))
        with pytest.raises(PublishRefusedError):
            await memory.advance("1h")
