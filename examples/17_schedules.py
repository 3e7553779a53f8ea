"""Schedules: an interval that runs here, and a cron line across the night in which clocks change.

In production the scheduler is a process of its own, ``stem-amqp scheduler shop:stem``, or part of a worker:
docs/schedules.md. Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

from stem_amqp import Stem, TaskContext
from stem_amqp.scheduler.process import Scheduler
from stem_amqp.schedules import next_ticks

stem = Stem()
ran: asyncio.Queue[str] = asyncio.Queue()


@stem.every("1s", args={"pages": 2})
@stem.cron("30 2 * * *", tz="Europe/Berlin", name="reports.nightly")
@stem.task("reports.render", queue="reports")
async def render(ctx: TaskContext, pages: int = 100) -> int:
    """Note which tick it was; the id of its task has the time."""
    await ran.put(ctx.id)
    return pages


async def main() -> None:
    """Run three ticks, then print the ticks of three nights."""
    async with (
        stem,
        stem.worker(concurrency=1).running(),
        Scheduler(stem.blueprint, stem.connected).running(),
    ):
        ids = [await ran.get() for _ in range(3)]
    first, second, third = (datetime.fromisoformat(one.partition("@")[2]) for one in ids)
    print(f"{(second - first).seconds} s and {(third - second).seconds} s between ticks")

    berlin = ZoneInfo("Europe/Berlin")
    friday = datetime(2026, 3, 27, 12, tzinfo=berlin).timestamp()
    for tick in next_ticks(stem.blueprint.schedules["reports.nightly"], friday, count=3):
        print(tick.moment.astimezone(berlin).strftime("%A %H:%M %Z"))


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 1 s and 1 s between ticks
# Saturday 02:30 CET
# Sunday 03:00 CEST
# Monday 02:30 CEST
