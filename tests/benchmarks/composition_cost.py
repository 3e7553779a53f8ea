"""Measure what compositions cost: a group against plain tasks, a chain against tasks enqueued by hand.

    python tests/benchmarks/composition_cost.py redis://localhost:6379/0 [members]

The tasks do nothing, producer and worker are one process, and the broker is that of STEM_BROKER_URL. Turns
alternate, since other load on the machine affects both.

- Group: so many tasks are enqueued without and with a group whose callback gets all results, and then drained
  by a worker. The time of the worker's start and end is in the figures.
- Chain: ten links, and ten tasks of which each is enqueued once the result of the one before it is there.
"""

import asyncio
import statistics
import sys
import time
import uuid

from stem_amqp import Stem, chain, group

MEMBERS = 10_000
TURNS = 3
LINKS = 10
CHAINS = 20


class Measured:
    """An application whose tasks do nothing.

    Args:
        url: the result backend.
    """

    def __init__(self, url: str) -> None:
        self.stem = Stem(namespace=f"figures-{uuid.uuid4().hex[:6]}", backend_url=url)
        self.drained = asyncio.Event()
        self.expected = 0
        self.runs = 0
        self.work = self.stem.task("work", queue="work", result_ttl=600)(self._work)
        self.end = self.stem.task("end", queue="work", result_ttl=600)(self._end)

    async def _work(self, number: int) -> int:
        self.runs += 1
        if self.runs == self.expected:
            self.drained.set()
        return number

    async def _end(self, results: list[int]) -> int:
        self.drained.set()
        return len(results)

    async def drain(self) -> tuple[float, float]:
        """Run a worker until all is drained; return seconds, and the process's seconds of CPU."""
        await self.stem.connected.writer.flush()
        begun, python = time.perf_counter(), time.process_time()
        async with self.stem.worker(concurrency=200).running():
            await self.drained.wait()
        return time.perf_counter() - begun, time.process_time() - python


async def plain(url: str, members: int) -> tuple[float, float, float]:
    """Return the seconds of enqueueing tasks and of draining them, and the seconds of CPU of that."""
    it = Measured(url)
    it.expected = members
    async with it.stem as stem:
        begun = time.perf_counter()
        await stem.enqueue_many([it.work.prepare(number) for number in range(members)])
        enqueued = time.perf_counter() - begun
        drained = await it.drain()
        await stem.connected.transport.delete(stem.blueprint.entities)
    return enqueued, *drained


async def grouped(url: str, members: int) -> tuple[float, float, float]:
    """Return the same for a group with a callback."""
    it = Measured(url)
    async with it.stem as stem:
        begun = time.perf_counter()
        composition = group(it.work.s(number) for number in range(members)) | it.end.s()
        handle = await composition.enqueue()
        enqueued = time.perf_counter() - begun
        drained = await it.drain()
        assert await handle.result(timeout="60s") == members
        await stem.connected.transport.delete(stem.blueprint.entities)
    return enqueued, *drained


async def chains(url: str) -> tuple[float, float]:
    """Return the median seconds of ten tasks enqueued by hand, and of a chain of ten links."""
    it = Measured(url)
    by_hand, chained = [], []
    async with it.stem as stem:
        async with stem.worker(concurrency=20).running():
            for _ in range(CHAINS):
                begun, result = time.perf_counter(), 0
                for _ in range(LINKS):
                    handle = await it.work.enqueue(result)
                    result = await handle.result(timeout="60s")
                by_hand.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                links = chain(it.work.s(0), *(it.work.s() for _ in range(LINKS - 1)))
                await (await links.enqueue()).result(timeout="60s")
                chained.append(time.perf_counter() - begun)
        await stem.connected.transport.delete(stem.blueprint.entities)
    return statistics.median(by_hand), statistics.median(chained)


def main() -> None:
    """Measure, and print."""
    url = sys.argv[1]
    members = int(sys.argv[2]) if len(sys.argv) > 2 else MEMBERS
    for _ in range(TURNS):
        for title, measure in (("plain tasks", plain), ("a group    ", grouped)):
            enqueued, drained, cpu = asyncio.run(measure(url, members))
            print(
                f"{title} enqueued {members / enqueued:6.0f}/s, drained {members / drained:6.0f}/s,"
                f" {cpu / members * 1e6:4.0f} us of Python each",
                flush=True,
            )
        by_hand, chained = asyncio.run(chains(url))
        print(
            f"ten tasks by hand {by_hand * 1e3:5.1f} ms, a chain of ten {chained * 1e3:5.1f} ms:"
            f" {chained / by_hand:4.2f} x",
            flush=True,
        )


if __name__ == "__main__":
    main()
