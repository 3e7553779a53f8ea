"""A long task reports its progress, and that it is alive; its handle reads the progress.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Progress, Stem, TaskContext, TaskHandle

stem = Stem()
go_on = asyncio.Event()  # makes the output of this example deterministic


@stem.task("imports.customers", queue="imports", time_limit="10m")
async def import_customers(context: TaskContext, rows: int) -> int:
    """Import customers, and report the progress after each quarter."""
    for quarter in (1, 2):
        done = rows * quarter // 4
        context.progress(quarter / 4, message=f"{done} of {rows} rows", data={"rows": done})
        await asyncio.sleep(0.2)
    await go_on.wait()
    context.heartbeat()  # renews the time of the progress, without a change
    return rows


async def half_done(handle: TaskHandle[int]) -> Progress:
    """Poll the progress until half of it is done."""
    while True:
        progress = await handle.progress()
        if progress is not None and progress.fraction == 0.5:
            return progress
        await asyncio.sleep(0.05)


async def main() -> None:
    """Read the progress while the task runs."""
    async with stem, stem.worker().running():
        handle = await import_customers.enqueue(1000)
        progress = await half_done(handle)
        print(f"{progress.fraction:.0%}: {progress.message}, {progress.data}")
        go_on.set()
        print(await handle.result(timeout="10s"), "rows imported")


if __name__ == "__main__":
    asyncio.run(main())

# Output:
# 50%: 500 of 1000 rows, {'rows': 500}
# 1000 rows imported
