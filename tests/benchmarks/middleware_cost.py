"""Measure the cost of one middleware per task on the in-memory broker.

python tests/benchmarks/middleware_cost.py [TASKS]
"""

import asyncio
import sys
import time

from stem_amqp import Middleware, Stem

TASKS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
ROUNDS = 7


class Around(Middleware):
    """Middleware that does nothing around runs and publishes."""

    async def run(self, ctx, call_next):
        """Run the task."""
        return await call_next()

    async def publish(self, message, call_next):
        """Publish the task."""
        await call_next(message)


async def seconds(name, middleware):
    """Return the seconds per task of publishing, and of running."""
    stem = Stem(broker_url=f"memory://{name}", backend_url="memory://", middleware=middleware)

    @stem.task("work", queue="q", ignore_result=True)
    async def work(number: int) -> None: ...

    async with stem:
        begun = time.process_time()
        for number in range(TASKS):
            await work.enqueue(number)
        published = time.process_time()
        async with stem.worker(concurrency=20).running() as worker:
            while worker.statistics().done < TASKS:
                await asyncio.sleep(0)
            return (published - begun) / TASKS, (time.process_time() - published) / TASKS


async def main():
    """Measure alternately, and print the best of each."""
    found = {"without": [], "with one": []}
    for turn in range(ROUNDS):
        found["without"].append(await seconds(f"a{turn}", []))
        found["with one"].append(await seconds(f"b{turn}", [Around()]))
    for label, values in found.items():
        publish, run = (min(column) * 1e6 for column in zip(*values, strict=True))
        print(f"{label:9} publish {publish:6.1f} µs a task, run {run:6.1f} µs a task")


asyncio.run(main())
