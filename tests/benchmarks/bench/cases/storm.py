"""Thousands of tasks fail at once, and each is to run again after two seconds: on time?"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.cases.base import Case, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench

DELAY = 2.0


async def _storm(bench: Bench) -> Mapping[str, float]:
    size = bench.run.size
    async with bench.producing() as producer:
        await producer.enqueue_many("flaky", range(size))
        with bench.working() as workers:
            await bench.until_run(workers, size)
            await bench.until_run(workers, size, start=size)
            await bench.until_acked(workers)
    pairs = zip(bench.marks.times(size), bench.marks.times(size, size), strict=True)
    late = [second - first - DELAY for first, second in pairs]
    return {
        "last": max(late),
        "median": statistics.median(late),
        "early": sum(seconds < 0 for seconds in late),
    }


CASES = (
    Case(
        name="storm",
        title="A storm of retries after 2 s",
        size=20_000,
        measure=_storm,
        task="flaky",
        rounds=3,
        metrics=(
            Metric(key="last", title="the last one late by", unit="s", digits=2),
            Metric(key="median", title="the median late by", unit="s", digits=2),
            Metric(key="early", title="too early", unit="tasks", digits=0),
        ),
    ),
)
