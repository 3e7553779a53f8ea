"""How fast does a producer get tasks into the broker, safely?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench import broker
from bench.cases.base import Case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.bench import Bench


async def _one_by_one(bench: Bench) -> Mapping[str, float]:
    async with bench.producing() as producer:
        begun = time.perf_counter()
        for number in range(bench.run.size):
            await producer.enqueue("noop", number)
        taken = time.perf_counter() - begun
    return await _checked(bench, taken)


async def _many(bench: Bench) -> Mapping[str, float]:
    async with bench.producing() as producer:
        begun = time.perf_counter()
        await producer.enqueue_many("noop", range(bench.run.size))
        taken = time.perf_counter() - begun
    return await _checked(bench, taken)


async def _checked(bench: Bench, taken: float) -> Mapping[str, float]:
    """Give the rate, if every message is there and durable.

    Raises:
        NotDurableError: one is missing, or they are not persistent in a quorum queue.
    """
    there = await broker.depth(bench.run.url, bench.queue)
    if there != bench.run.size:
        raise broker.NotDurableError(f"{there} of {bench.run.size} messages are in the queue")
    await broker.audit(bench.run.url, bench.queue)
    return {"rate": bench.run.size / taken}


CASES = (
    Case(
        name="enqueue",
        title="Enqueue one by one, each awaited until it is confirmed",
        size=5_000,
        measure=_one_by_one,
    ),
    Case(name="enqueue-many", title="Enqueue many", size=20_000, measure=_many),
)
