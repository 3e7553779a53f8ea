"""Measure the lateness of retries: 1,000 tasks fail once, and their second runs are timed.

The worker reports in `task-retried` when the next run is due, before the wait is rounded up to two
significant digits of 100 ms. So a run counts as late from the moment that the policy chose.
"""

import argparse
import asyncio
import statistics
import uuid

from stem_amqp import Event, Stem, TaskContext


async def measure(count: int, base: str) -> None:
    """Run the tasks, and print their lateness."""
    stem = Stem(namespace=f"figures-{uuid.uuid4().hex[:6]}", backend_url="memory://figures")
    due: dict[str, float] = {}
    ran: dict[str, float] = {}
    done = asyncio.Event()

    @stem.task("fail.once", queue="figures", retry={"base": base, "jitter": 0.25})
    async def fail_once(ctx: TaskContext) -> None:
        if ctx.attempt == 0:
            raise ValueError("once")
        ran[ctx.id] = stem.connected.transport.clock.time()
        if len(ran) == count:
            done.set()

    @stem.signals.task_retried.connect()
    def note(event: Event) -> None:
        due[str(event.id)] = event.fields["next_run"]

    async with stem:
        print(f"broker: {stem.connected.broker}")
        try:
            async with stem.worker(concurrency=100).running():
                await stem.enqueue_many(fail_once.prepare() for _ in range(count))
                await asyncio.wait_for(done.wait(), 120)
        finally:
            await stem.connected.transport.delete(stem.blueprint.entities)
    late = sorted((ran[task] - due[task]) * 1000 for task in ran)
    print(f"{count} retries of {base}, a quarter of it jitter, all at once")
    print(f"late by {statistics.median(late):.0f} ms at the median, {late[-1]:.0f} ms at most")
    print(f"early: {sum(ms < 0 for ms in late)}, lost: {count - len(ran)}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--base", default="2s")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.count, arguments.base))


if __name__ == "__main__":
    main()
