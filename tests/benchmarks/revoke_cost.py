"""Measure revocations: how long until the last worker knows, and what the check costs without any.

    python tests/benchmarks/revoke_cost.py [--url amqp://…] [--tasks 10000] [--workers 4]

The first part enqueues tasks, starts workers that do not consume them, revokes all by their name, and measures the
time until the last worker has the directive; then workers that start later drop the tasks. The second part compares the check of a message that is revoked by nothing with an
empty function, in one run, so that the ratio does not depend on the machine's load. The third part drains the same
number of tasks with and without the check, alternately.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
import uuid

from stem_amqp import Stem
from stem_amqp.clock import SystemClock, timestamp
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.directives.state import Directives
from stem_amqp.messages.message import TaskMessage
from stem_amqp.testing.cleanup import delete_namespace
from stem_amqp.worker.steering.steering import Steering


def application(url: str, namespace: str) -> Stem:
    """Return an application with a task that does nothing."""
    stem = Stem(broker_url=url, backend_url="rpc://", namespace=namespace)

    @stem.task("bench.idle", queue="idle", ignore_result=True)
    async def idle() -> None:
        """Do nothing."""

    @stem.task("bench.nothing", queue="q", ignore_result=True)
    async def nothing() -> None:
        """Do nothing."""

    return stem


async def revoke_queued(url: str, tasks: int, workers: int) -> None:
    """Revoke queued tasks by name, and print how long it takes."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    operator = application(url, namespace)
    async with operator:
        nothing = operator.registry["bench.nothing"]
        await operator.enqueue_many(operator.prepare(nothing.name) for _ in range(tasks))
        others = [application(url, namespace) for _ in range(workers)]
        async with contextlib.AsyncExitStack() as stack:
            for other in others:
                await stack.enter_async_context(other)
            idle = [other.worker(["idle"], concurrency=1) for other in others]
            for worker in idle:
                await stack.enter_async_context(worker.running())
            begun = time.perf_counter()
            await operator.revoke_all(task="bench.*")
            stored = time.perf_counter() - begun
            while not all(worker.steering.directives.revoking for worker in idle):
                await asyncio.sleep(0.001)
            known = time.perf_counter() - begun
            late = [other.worker(["q"], concurrency=50) for other in others]
            for worker in late:
                await stack.enter_async_context(worker.running())
            while sum(worker.statistics().done for worker in late) < tasks:
                await asyncio.sleep(0.01)
            ended = time.perf_counter() - begun
        entities = operator.blueprint.entities
    print(
        f"{tasks} queued tasks, {workers} workers: stored and sent after {stored:.3f} s, known to the last"
    )
    print(f"worker after {known:.3f} s, the last task revoked after {ended:.1f} s")
    await delete_namespace(
        url, [one.name for one in entities.exchanges], [one.name for one in entities.queues]
    )


def check_cost() -> None:
    """Print what the check of one message costs, with no directive and with some."""
    message = TaskMessage(id="t", task="orders.sync", args={}, enqueued_at=timestamp(time.time()))
    none, some = Directives(SystemClock()), Directives(SystemClock())
    some.learn(
        Directive(
            kind=Kind.REVOKE, target=Target(task=f"other{number}.*"), at=1.0, nonce=str(number)
        )
        for number in range(10)
    )

    def per_call(directives: Directives) -> float:
        begun = time.perf_counter()
        for _ in range(100_000):
            directives.revocation(message, "q")
        return (time.perf_counter() - begun) / 100_000 * 1e6

    for name, directives in (("no directive", none), ("10 revocations by name", some)):
        print(
            f"check with {name}: {min(per_call(directives) for _ in range(5)):.2f} µs per message"
        )


async def drain(url: str, tasks: int) -> None:
    """Print the ratio of drains with and without the check of revocations."""
    checked = Steering.revocation
    stem = application(url, f"bench-{uuid.uuid4().hex[:8]}")
    ratios = []
    async with stem:
        for number in range(6):
            times = {}
            for name in ("with", "without") if number % 2 else ("without", "with"):
                Steering.revocation = checked if name == "with" else lambda *_: None
                await stem.enqueue_many(stem.prepare("bench.nothing") for _ in range(tasks))
                worker = stem.worker(["q"], concurrency=50)
                begun = time.perf_counter()
                async with worker.running():
                    while worker.statistics().done < tasks:
                        await asyncio.sleep(0.005)
                    times[name] = time.perf_counter() - begun
            ratios.append(round(times["without"] / times["with"], 3))
        entities = stem.blueprint.entities
    Steering.revocation = checked
    await delete_namespace(
        url, [one.name for one in entities.exchanges], [one.name for one in entities.queues]
    )
    print(f"drain with the check / without: {statistics.median(ratios):.3f} (median of {ratios})")


async def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="amqp://guest:guest@127.0.0.1:5672/")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    check_cost()
    await revoke_queued(options.url, options.tasks, options.workers)
    await drain(options.url, options.tasks // 2)


if __name__ == "__main__":
    asyncio.run(main())
