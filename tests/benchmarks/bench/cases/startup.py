"""How long until a new worker process runs its first task?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cases.base import Case, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench


async def _startup(bench: Bench) -> Mapping[str, float]:
    async with bench.producing() as producer:
        await producer.enqueue("noop", 0)
        with bench.working() as workers:
            await bench.until_run(workers, 1)
            await bench.until_acked(workers)
    return {"seconds": bench.marks.times(1)[0] - workers.spawned_at}


CASES = (
    Case(
        name="startup",
        title="From the start of the worker's process to its first task",
        size=1,
        floor=1,
        measure=_startup,
        metrics=(Metric(key="seconds", title="time", unit="s", digits=2),),
    ),
)
