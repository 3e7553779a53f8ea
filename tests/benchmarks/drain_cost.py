"""Measure what one task that does nothing costs a producer and a worker, in one or several source trees.

python tests/benchmarks/drain_cost.py [TREE …] [--rounds 8]

Tasks without results are enqueued one by one and drained on the in-memory broker, each round in a process of its own and
the trees in alternation. A tree is a directory with the package `stem_amqp`, such as a Git worktree of another
commit; default: the one that is installed. Processor time counts, of which the least is the least disturbed by
other programs. The number of calls, of Python and C functions, does not depend on the machine at all.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter

from stem_amqp import Stem

TASKS = 15_000
WARM_UP = 3_000
"""Tasks that run before the worker's time counts."""


async def drain(tasks, warm_up, begun, ended):
    """Enqueue and drain tasks; return the microseconds of processor time to enqueue one.

    Args:
        tasks: the number of tasks.
        warm_up: after how many runs `begun` is called.
        begun: called once so many have run.
        ended: called with the last run.
    """
    stem = Stem(broker_url=f"memory://{uuid.uuid4().hex}")
    runs = 0
    drained = asyncio.Event()

    @stem.task("figures.nothing", queue="figures", ignore_result=True)
    async def nothing():
        nonlocal runs
        runs += 1
        if runs == warm_up:
            begun()
        elif runs == tasks:
            ended()
            drained.set()

    async with stem:
        before = time.process_time()
        for _ in range(tasks):
            await nothing.enqueue()
        spent = time.process_time() - before
        async with stem.worker(["figures"], concurrency=20).running():
            await drained.wait()
    return spent / tasks * 1e6


def spent():
    """Return the microseconds of processor time of a task: to enqueue it, and in the worker."""
    times = []
    note = lambda: times.append(time.process_time())  # noqa: E731
    publish = asyncio.run(drain(TASKS, WARM_UP, note, note))
    return publish, (times[1] - times[0]) / (TASKS - WARM_UP) * 1e6


def calls():
    """Return the calls of a task in the worker."""
    counts = Counter()

    def count(_, event, __):
        counts[event] += 1

    tasks, warm_up = 2_000, 500
    begin, end = (lambda: sys.setprofile(count)), (lambda: sys.setprofile(None))
    asyncio.run(drain(tasks, warm_up, begin, end))
    return (counts["call"] + counts["c_call"]) / (tasks - warm_up)


def measured(tree):
    """Return what one process measures in a tree: microseconds to enqueue, microseconds to run, calls."""
    environment = os.environ | ({"PYTHONPATH": tree} if tree else {})
    command = [sys.executable, "-P", __file__, "--once"]
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return tuple(float(value) for value in ran.stdout.split())


def main():
    """Measure, and print a line for each tree."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trees", nargs="*", metavar="TREE", default=[""])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(*spent(), calls())
        return
    found = {tree: [] for tree in given.trees}
    for _ in range(given.rounds):
        for tree, rounds in found.items():
            rounds.append(measured(tree))
    for tree, rounds in found.items():
        publish, run, count = zip(*rounds, strict=True)
        texts = [
            f"{min(values):.1f} µs (median {statistics.median(values):.1f})"
            for values in (publish, run)
        ]
        print(f"{tree or 'installed'}: enqueue {texts[0]}, worker {texts[1]}, {count[0]:.0f} calls")


if __name__ == "__main__":
    main()
