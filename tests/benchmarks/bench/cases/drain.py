"""How fast do workers empty a queue that was filled before?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cases.base import Case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench

WARM = 0.1
"""Share of the tasks that ran before the clock starts, when every process has got going."""


async def _drain(bench: Bench) -> Mapping[str, float]:
    size = bench.run.size
    async with bench.producing() as producer:
        await producer.enqueue_many(bench.run.task, range(size))
        with bench.working() as workers:
            await bench.until_run(workers, size)
            await bench.until_acked(workers)
    return {"rate": rate(bench.marks.times(size))}


def rate(times: list[float]) -> float:
    """Return the tasks per second between the first tenth and the last one.

    Args:
        times: when each task ran, in any order.
    """
    ordered = sorted(times)
    first = int(len(ordered) * WARM)
    return (len(ordered) - 1 - first) / (ordered[-1] - ordered[first])


_BACKENDS = ("none", "rpc", "sqlite", "redis", "postgresql")
CASES = (
    Case(name="drain", title="Drain no-op tasks, one process", size=20_000, measure=_drain),
    Case(
        name="drain-2",
        title="Drain no-op tasks, two processes",
        size=20_000,
        measure=_drain,
        processes=2,
    ),
    Case(
        name="drain-io",
        title="Drain tasks of 10 ms I/O, 200 at once",
        size=20_000,
        measure=_drain,
        task="wait",
        concurrency=200,
        floor=2_000,
    ),
    Case(
        name="drain-threads",
        title="Drain synchronous no-op tasks in 20 threads",
        size=10_000,
        measure=_drain,
        task="sync",
        concurrency=20,
    ),
    Case(
        name="drain-cpu",
        title="Drain CPU-bound tasks, two processes",
        size=2_000,
        measure=_drain,
        task="crunch",
        concurrency=4,
        processes=2,
    ),
    *(
        Case(
            name=f"results-{backend}",
            title=f"Drain tasks that return a number, stored in: {backend}",
            size=5_000,
            measure=_drain,
            task="value",
            backend=backend,
        )
        for backend in _BACKENDS
    ),
)
