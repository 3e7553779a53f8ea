"""How long from enqueue to start, at shares of the load that saturates?

Arrivals keep to a schedule that does not wait for anything, and a task's latency counts from its
scheduled time: a producer or broker that lags makes it longer, instead of making it invisible.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from bench.cases.base import Case, Metric
from bench.contender import Producer, in_flight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench
    from bench.workers import Workers

SHARES = (10, 50, 90)
SAME = 1_000.0
"""Tasks a second of the load that is the same for all: half of one contender's own limit can be
more than another's whole one."""
SECONDS = 5.0
"""How long each load lasts, unless the tasks do not suffice for it."""

LOAD = f"{SAME:,.0f}/s"


async def _latency(bench: Bench) -> Mapping[str, float]:
    async with bench.producing() as producer:
        with bench.working() as workers:
            await _warm(bench, producer, workers)
            top = await _saturate(bench, producer, workers)
            found = {"top": top}
            rates = {f"{share} %": top * share / 100 for share in SHARES}
            for name, rate in (rates | {LOAD: SAME}).items():
                lateness = await _load(bench, producer, workers, rate)
                found[f"p50-{name}"] = statistics.median(lateness) * 1000
                found[f"p99-{name}"] = statistics.quantiles(lateness, n=100)[98] * 1000
            await bench.until_acked(workers)
    return found


async def _warm(bench: Bench, producer: Producer, workers: Workers) -> None:
    await producer.enqueue("noop", 0)
    await bench.until_run(workers, 1)
    bench.marks.clear()


async def _saturate(bench: Bench, producer: Producer, workers: Workers) -> float:
    """Return the tasks per second with producer and worker at work at the same time."""
    count = bench.run.size
    begun = time.time()
    await in_flight(lambda number: producer.enqueue("noop", number), range(count))
    await bench.until_run(workers, count)
    taken = max(bench.marks.times(count)) - begun
    bench.marks.clear()
    return count / taken


async def _load(bench: Bench, producer: Producer, workers: Workers, rate: float) -> list[float]:
    """Enqueue on schedule, and return how long after its time each task started, in seconds."""
    count = max(100, min(bench.run.size, int(rate * SECONDS)))
    begun = time.time() + 0.05
    due = [begun + number / rate for number in range(count)]
    sending: set[asyncio.Task[None]] = set()
    number = 0
    while number < count:
        if (early := due[number] - time.time()) > 0:
            await asyncio.sleep(early)
            continue
        task = asyncio.ensure_future(producer.enqueue("noop", number))
        sending.add(task)
        task.add_done_callback(sending.discard)
        number += 1
        if number % 20 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*sending)
    await bench.until_run(workers, count)
    lateness = [ran - at for ran, at in zip(bench.marks.times(count), due, strict=True)]
    bench.marks.clear()
    return lateness


CASES = (
    Case(
        name="latency",
        title="From enqueue to start, at shares of the saturating load",
        size=20_000,
        measure=_latency,
        floor=1_000,
        rounds=5,
        metrics=(
            Metric(
                key="top",
                title="saturating load",
                unit="tasks/s",
                more_is_better=True,
                digits=0,
            ),
            *(
                Metric(key=f"{point}-{name}", title=f"{point} at {name}", unit="ms", digits=2)
                for name in (*(f"{share} %" for share in SHARES), LOAD)
                for point in ("p50", "p99")
            ),
        ),
    ),
)
