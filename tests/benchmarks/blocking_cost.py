"""Measure the blocking producer against the async enqueue, awaited one by one.

The rounds of both alternate in one run, so that other load on the machine affects both alike; then
eight threads share one blocking producer.
"""

import asyncio
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from stem_amqp import Stem

ROUNDS, TASKS, THREADS = 7, 500, 8

stem = Stem(namespace=f"figures-{uuid.uuid4().hex[:6]}")


@stem.task("figures.nothing", queue="figures", ignore_result=True)
def nothing(number: int) -> None:
    """Do nothing."""


async def awaited() -> float:
    """Return the seconds per task, each awaited before the next one."""
    begun = time.perf_counter()
    for number in range(TASKS):
        await nothing.enqueue(number)
    return (time.perf_counter() - begun) / TASKS


def blocking() -> float:
    """Return the seconds per task of blocking calls."""
    begun = time.perf_counter()
    for number in range(TASKS):
        nothing.enqueue_blocking(number)
    return (time.perf_counter() - begun) / TASKS


def threads() -> float:
    """Return the seconds per task of threads that call concurrently."""
    with ThreadPoolExecutor(THREADS) as pool:
        begun = time.perf_counter()
        for future in [pool.submit(nothing.enqueue_blocking, n) for n in range(TASKS)]:
            future.result()
    return (time.perf_counter() - begun) / TASKS


async def main() -> None:
    """Measure alternately, after a round that does not count."""
    measured: dict[str, list[float]] = {}
    async with stem:
        try:
            for number in range(ROUNDS + 1):
                for title, seconds in (
                    ("await task.enqueue(…)", await awaited()),
                    ("task.enqueue_blocking(…)", await asyncio.to_thread(blocking)),
                    (f"the same, {THREADS} threads", await asyncio.to_thread(threads)),
                ):
                    if number:
                        measured.setdefault(title, []).append(seconds)
        finally:
            stem.blocking_producer.close()
            await stem.connected.transport.delete(stem.blueprint.entities)
    for title, values in measured.items():
        middle = statistics.median(values)
        print(
            f"{title:26} {middle * 1e6:7.0f} µs a task ({min(values) * 1e6:.0f} to"
            f" {max(values) * 1e6:.0f}), {1 / middle:,.0f} tasks/s"
        )


if __name__ == "__main__":
    asyncio.run(main())
