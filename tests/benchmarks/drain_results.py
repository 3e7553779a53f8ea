"""Measure the cost of stored results: one queue is drained without results and with them.

    python tests/benchmarks/drain_results.py redis://localhost:6379/0 [tasks]

The tasks do nothing; with results each is also stored as running and as succeeded. The time of the worker's
start and end is in the figures. Python's time is that of this process, the worker's.
"""

import asyncio
import sys
import time
import uuid

from stem_amqp import Stem

TASKS = 6000
ROUNDS = 3


async def drain(backend_url: str, tasks: int, *, ignore_result: bool) -> tuple[float, float]:
    """Drain a queue, and return the tasks per second and the microseconds of Python per task."""
    stem = Stem(namespace=f"figures-{uuid.uuid4().hex[:6]}", backend_url=backend_url)
    drained, runs = asyncio.Event(), 0

    @stem.task("work", queue="work", ignore_result=ignore_result, result_ttl=60)
    async def work(number: int) -> int:
        nonlocal runs
        runs += 1
        if runs == tasks:
            drained.set()
        return number

    async with stem:
        await stem.enqueue_many([work.prepare(number) for number in range(tasks)])
        await stem.connected.writer.flush()
        begun, begun_python = time.perf_counter(), time.process_time()
        async with stem.worker(concurrency=200).running():
            await drained.wait()
        taken, python = time.perf_counter() - begun, time.process_time() - begun_python
        await stem.connected.transport.delete(stem.blueprint.entities)
    return tasks / taken, python / tasks * 1e6


def main() -> None:
    """Measure both, alternating several times, since other load on the machine affects both."""
    tasks = int(sys.argv[2]) if len(sys.argv) > 2 else TASKS
    for _ in range(ROUNDS):
        for title, ignore_result in (("without results", True), ("with results   ", False)):
            rate, python = asyncio.run(drain(sys.argv[1], tasks, ignore_result=ignore_result))
            print(f"{title} {rate:6.0f} tasks/s, {python:4.0f} us of Python each")


if __name__ == "__main__":
    main()
