"""A hundred thousand tasks for later: what do they cost, and do they arrive on time?"""

from __future__ import annotations

import os
import random
import statistics
import time
from typing import TYPE_CHECKING

from bench.cases.base import Case, Metric
from bench.contender import Producer
from bench.workers import resident

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench

ARRIVALS = 1_500
"""Tasks per second that fall due."""
TRIED = 200
"""Tasks that are enqueued first, to see how long the others will take."""
RESERVE = 1.5
"""Times the expected duration of the enqueueing, after which the first one falls due."""


async def _delayed(bench: Bench) -> Mapping[str, float]:
    size = bench.run.size
    async with bench.producing() as producer:
        with bench.working() as workers:
            lead = await _try(bench, producer)
            before = resident(os.getpid())
            begun = time.time()
            due = _schedule(size, begun + lead)
            await producer.enqueue_many("noop", range(size), due)
            taken = time.time() - begun
            memory, producers = workers.resident(), resident(os.getpid()) - before
            await bench.until_run(workers, size)
            await bench.until_acked(workers)
    late = [ran - due[number] for number, ran in enumerate(bench.marks.times(size))]
    return {
        "rate": size / taken,
        "worker": memory,
        "producer": producers,
        "median": statistics.median(late) * 1000,
        "p99": statistics.quantiles(late, n=100)[98] * 1000,
        "last": max(late) * 1000,
        "early": sum(seconds < 0 for seconds in late),
    }


async def _try(bench: Bench, producer: Producer) -> float:
    """Return after how many seconds all can be enqueued; tried with slots of their own."""
    size = bench.run.size
    numbers = range(size, size + TRIED)
    begun = time.time()
    await producer.enqueue_many("noop", numbers, dict.fromkeys(numbers, begun + 5))
    return 10 + RESERVE * size * (time.time() - begun) / TRIED


def _schedule(size: int, first: float) -> dict[int, float]:
    """Return when each falls due: evenly spread, in an order that mixes near and far."""
    order = list(range(size))
    random.Random(size).shuffle(order)
    return {number: first + place / ARRIVALS for number, place in enumerate(order)}


CASES = (
    Case(
        name="delayed",
        title="Tasks for later, due over about a minute, near and far mixed",
        size=100_000,
        measure=_delayed,
        rounds=1,
        floor=1_000,
        metrics=(
            Metric(key="rate", title="enqueued", unit="tasks/s", more_is_better=True, digits=0),
            Metric(key="worker", title="worker's memory meanwhile", unit="MiB"),
            Metric(key="producer", title="producer's memory grew by", unit="MiB"),
            Metric(key="median", title="late, median", unit="ms", digits=0),
            Metric(key="p99", title="late, p99", unit="ms", digits=0),
            Metric(key="last", title="late, last", unit="ms", digits=0),
            Metric(key="early", title="too early", unit="tasks", digits=0),
        ),
    ),
)
