"""A long task says how far it is, and that it is alive; whoever has the handle can ask.

Needs a RabbitMQ on localhost, or the one of STEM_BROKER_URL.
"""

import asyncio

from stem_amqp import Progress, Stem, TaskContext, TaskHandle

stem = Stem()
go_on = asyncio.Event()  # only so that this example always prints the same


@stem.task("imports.customers", queue="imports", time_limit="10m")
async def import_customers(context: TaskContext, rows: int) -> int:
    """Import customers, and say so after each quarter."""
    for quarter in (1, 2):
        done = rows * quarter // 4
        context.progress(quarter / 4, message=f"{done} of {rows} rows", data={"rows": done})
        await asyncio.sleep(0.2)
    await go_on.wait()
    context.heartbeat()  # nothing new, but alive: renews the time of the progress
    return rows


async def half_done(handle: TaskHandle[int]) -> Progress:
    """Ask until half of it is done."""
    while True:
        progress = await handle.progress()
        if progress is not None and progress.fraction == 0.5:
            return progress
        await asyncio.sleep(0.05)


async def main() -> None:
    """Look at the task while it runs."""
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
