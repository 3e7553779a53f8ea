"""Measure what waiting messages of unknown tasks cost the tasks beside them in the same queue.

python tests/benchmarks/unknown_tasks.py [--broker URL] [--unknown N] [--tasks N] [--rounds N]

Two applications, each with a worker in a process of its own: one has messages of 1,000 unknown tasks in its queue, the
other has none. Both drain the same number of tasks that do nothing, in alternation and in opposite order in every second
round, so that a machine that becomes slower takes part in both sides of a ratio. An unknown task comes back 1, 2, 4, 8
and 16 seconds after it arrived, then every 30: so there is a phase `arriving`, from their enqueue on, and a phase
`waiting`, which begins a minute later. A ratio compares processor time, or the rate; the figures are the medians of
all rounds with their quartiles. What one delivery of an unknown task costs is the processor time that the drains beside them take
more, divided by the number of such deliveries in them.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import statistics
import subprocess
import sys
import time
import uuid
from dataclasses import asdict, dataclass

from stem_amqp import Stem
from stem_amqp.observability import Exporter

LONGEST_DELAY = 30.0
"""Seconds between two deliveries of an unknown task, in the end."""


class Deliveries(Exporter):
    """Counts the deliveries of unknown tasks."""

    def __init__(self):
        self.count = 0

    def unknown_task(self, delivered, waited):
        self.count += 1


class Drain:
    """An application whose task does nothing, and counts."""

    def __init__(self, url):
        self.unknown = Deliveries()
        self.stem = Stem(
            broker_url=url,
            backend_url="memory://",
            namespace=f"unknown-{uuid.uuid4().hex[:8]}",
            exporters=[self.unknown],
        )
        self.left = 0
        self.empty = asyncio.Event()
        self.task = self.stem.task("nothing", queue="work", ignore_result=True)(self._nothing)

    async def _nothing(self):
        self.left -= 1
        if not self.left:
            self.empty.set()

    async def measure(self, count):
        """Enqueue tasks, and return what it took to drain them."""
        self.left = count
        self.empty.clear()
        deliveries = self.unknown.count
        wall, cpu = time.perf_counter(), time.process_time()
        await self.stem.enqueue_many(self.task.prepare() for _ in range(count))
        await self.empty.wait()
        return Taken(
            wall=time.perf_counter() - wall,
            cpu=time.process_time() - cpu,
            deliveries=self.unknown.count - deliveries,
        )

    @contextlib.asynccontextmanager
    async def open(self):
        """Run a worker during the block."""
        async with self.stem as stem:
            try:
                async with stem.worker(["work"], concurrency=100).running():
                    yield self
            finally:
                await stem.connected.transport.delete(stem.blueprint.entities)


@dataclass(frozen=True)
class Taken:
    """What a drain took: wall and processor seconds, and deliveries of unknown tasks meanwhile."""

    wall: float
    cpu: float
    deliveries: int


async def serve(options):
    """Carry out the commands of the parent process, one in each line of the standard input."""
    async with Drain(options.broker).open() as drain:
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            if words[0] == "drain":
                taken = await drain.measure(options.tasks)
            else:
                before = drain.unknown.count
                if words[0] == "unknown":
                    calls = (
                        drain.stem.prepare("later", queue="work") for _ in range(options.unknown)
                    )
                    await drain.stem.enqueue_many(calls)
                else:
                    await asyncio.sleep(float(words[1]))
                taken = Taken(wall=0.0, cpu=0.0, deliveries=drain.unknown.count - before)
            print(json.dumps(asdict(taken)), flush=True)


class Child:
    """A process with one of the applications."""

    def __init__(self):
        words = [sys.executable, *sys.argv, "--child"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, command):
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return Taken(**json.loads(self._process.stdout.readline()))

    def end(self):
        self._process.stdin.close()
        self._process.wait()


def phase(alone, beside, options):
    """Return the pairs of drains of one phase."""
    pairs = []
    for turn in range(options.rounds):
        drains = (alone, beside) if turn % 2 else (beside, alone)
        taken = {drain: drain("drain") for drain in drains}
        pairs.append((taken[alone], taken[beside]))
    return pairs


def measured(options):
    """Return the pairs of both phases, and the deliveries of a second without other tasks."""
    alone, beside = Child(), Child()
    try:
        for drain in (alone, beside):
            drain("drain")  # warms up
        beside("unknown")
        arriving = phase(alone, beside, options)
        beside(f"wait {2 * LONGEST_DELAY}")
        waiting = phase(alone, beside, options)
        idle = beside(f"wait {LONGEST_DELAY}").deliveries / LONGEST_DELAY
    finally:
        alone.end()
        beside.end()
    return arriving, waiting, idle


def show(kind, pairs, options):
    """Print the figures of a phase."""
    line = f"{kind:10}"
    for name in ("cpu", "wall"):
        ratios = [getattr(one, name) / getattr(two, name) for one, two in pairs]
        low, middle, high = statistics.quantiles(ratios)
        line += f" {name} x {middle:.2f} ({low:.2f} to {high:.2f})"
    deliveries = sum(two.deliveries for _, two in pairs)
    known = sum(one.cpu for one, _ in pairs) / options.tasks / len(pairs)
    each = sum(two.cpu - one.cpu for one, two in pairs) / max(1, deliveries)
    print(
        f"{line}; {deliveries} deliveries of unknown tasks, {each * 1e6:.0f} µs each; a known task"
        f" {known * 1e6:.0f} µs"
    )


def main():
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", default="amqp://guest:guest@localhost:5672/")
    parser.add_argument("--unknown", type=int, default=1000, help="unknown tasks")
    parser.add_argument("--tasks", type=int, default=2_000, help="known tasks of each drain")
    parser.add_argument("--rounds", type=int, default=15, help="of each phase")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.child:
        asyncio.run(serve(options))
        return
    arriving, waiting, rate = measured(options)
    show("arriving", arriving, options)
    show("waiting", waiting, options)
    print(f"without other tasks: {rate:.0f} deliveries of {options.unknown} unknown tasks a second")


if __name__ == "__main__":
    main()
