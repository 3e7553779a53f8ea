"""How much memory does a worker take: at rest, after much work, with much work waiting?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cases.base import Case, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench
    from bench.contender import Producer
    from bench.workers import Workers

SOME = 0.1
"""Share of the tasks after which it is measured for the first time."""


async def _memory(bench: Bench) -> Mapping[str, float]:
    size = bench.run.size
    some = max(2, round(size * SOME))
    async with bench.producing() as producer:
        with bench.working() as workers:
            await _work(bench, producer, workers, range(1))
            idle = workers.resident()
            await _work(bench, producer, workers, range(1, some))
            after = workers.resident()
            await producer.enqueue_many("noop", range(some, size))
            behind = workers.resident()
            await bench.until_run(workers, size)
            end = workers.resident()
            await bench.until_acked(workers)
    return {"idle": idle, "some": after, "behind": behind, "end": end}


async def _work(bench: Bench, producer: Producer, workers: Workers, numbers: range) -> None:
    await producer.enqueue_many("noop", numbers)
    await bench.until_run(workers, numbers.stop)


_METRICS = (
    Metric(key="idle", title="at rest", unit="MiB"),
    Metric(key="some", title="after a tenth of the tasks", unit="MiB"),
    Metric(key="behind", title="with the others queued", unit="MiB"),
    Metric(key="end", title="after all tasks", unit="MiB"),
)
CASES = (
    Case(
        name="memory",
        title="Memory of a worker, 100,000 tasks",
        size=100_000,
        measure=_memory,
        metrics=_METRICS,
        rounds=1,
        floor=1_000,
    ),
    Case(
        name="memory-million",
        title="Memory of a worker, 1,000,000 tasks",
        size=1_000_000,
        measure=_memory,
        metrics=_METRICS,
        rounds=1,
        floor=1_000,
        asked=True,
    ),
)
