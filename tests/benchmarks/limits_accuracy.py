"""Measure whether limits across workers are exact and fair: starts in each second over several processes.

    python tests/benchmarks/limits_accuracy.py rate redis://localhost:6379/0 --rate 100 --seconds 60
    python tests/benchmarks/limits_accuracy.py fairness redis://localhost:6379/0 --rate 5 --seconds 60

The broker is the one of STEM_BROKER_URL. `rate` enqueues the starts of all seconds at once and prints the
starts in each second after the first one, and how many tasks were lost or ran twice. `fairness` gives ten
tenants the same limit, one of which enqueues a hundred times more, and prints the starts of each.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stem_amqp import Limit, Stem

TENANTS = 10
FLOOD = 100


def application(backend: str, namespace: str, rate: str, log: Path) -> Stem:
    """Return the application of the workers and of the producer."""
    stem = Stem(backend_url=backend, namespace=namespace)
    file = log.open("a", buffering=1)

    @stem.task("rate", queue="limited", rate_limit=rate, ignore_result=True)
    async def rate_(number: int) -> None:
        file.write(f"{time.time():.6f} {number} all\n")

    @stem.task(
        "fair", queue="limited", rate_limit=Limit(rate, by="args.tenant"), ignore_result=True
    )
    async def fair(number: int, tenant: str) -> None:
        file.write(f"{time.time():.6f} {number} {tenant}\n")

    return stem


async def work(stem: Stem) -> None:
    """Run a worker until it is killed."""
    async with stem, stem.worker(["limited"], concurrency=20).running():
        await asyncio.Event().wait()


async def enqueue(stem: Stem, options: argparse.Namespace) -> int:
    """Enqueue the tasks, and return their number."""
    rate, fair = stem.registry["rate"].name, stem.registry["fair"].name
    if options.measure == "rate":
        calls = [{"number": n} for n in range(int(options.rate * options.seconds))]
        name = rate
    else:
        each = int(options.rate * options.seconds)
        flood = [{"number": n, "tenant": "flood"} for n in range(each * FLOOD)]
        others = [
            {"number": n, "tenant": f"t{tenant}"}
            for n in range(each)
            for tenant in range(1, TENANTS)
        ]
        step = len(flood) // len(others)
        calls = [
            one
            for n, other in enumerate(others)
            for one in (*flood[n * step : (n + 1) * step], other)
        ]
        name = fair
    async with stem:
        await stem.enqueue_many(stem.prepare(name, args=one) for one in calls)
    return len(calls)


def report(options: argparse.Namespace, lines: list[str], enqueued: int) -> None:
    """Print the numbers."""
    starts = sorted(
        (float(at), int(number), tenant) for at, number, tenant in map(str.split, lines)
    )
    begin = starts[0][0]
    ran = collections.Counter((number, tenant) for _, number, tenant in starts)
    print(f"{enqueued} enqueued, {len(ran)} ran, {sum(ran.values()) - len(ran)} of them twice")
    if options.measure == "rate":
        seconds = collections.Counter(int(at - begin) for at, _, _ in starts)
        whole = [seconds[n] for n in range(1, int(starts[-1][0] - begin))]
        print(f"first second: {seconds[0]}; each second after it: {min(whole)} to {max(whole)}")
        print(
            f"outside of 99 to 101 %: {sum(abs(n - options.rate) > options.rate / 100 for n in whole)} of {len(whole)}"
        )
        print(*whole)
        return
    tenants = collections.Counter(
        tenant for at, _, tenant in starts if at - begin <= options.seconds
    )
    print(f"starts of each tenant in {options.seconds} s: {dict(sorted(tenants.items()))}")
    print(f"largest difference: {100 * (max(tenants.values()) / min(tenants.values()) - 1):.1f} %")


def main() -> None:
    """Start the workers, enqueue, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=["rate", "fairness"])
    parser.add_argument("backend")
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--namespace", default=f"limits-{os.getpid()}")
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.log is not None:
        asyncio.run(
            work(application(options.backend, options.namespace, f"{options.rate}/s", options.log))
        )
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        logs = [Path(folder, f"{n}.log") for n in range(options.processes)]
        stem = application(
            options.backend, options.namespace, f"{options.rate}/s", Path(folder, "x")
        )
        enqueued = asyncio.run(enqueue(stem, options))
        for log in logs:
            command = [
                sys.executable,
                *sys.argv,
                "--namespace",
                options.namespace,
                "--log",
                str(log),
            ]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        deadline = time.monotonic() + options.seconds + 30
        lines: list[str] = []
        while time.monotonic() < deadline and len(lines) < enqueued:
            time.sleep(1)
            lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
            begun = min((float(line.split()[0]) for line in lines), default=time.time())
            if options.measure == "fairness" and time.time() - begun > options.seconds + 1:
                break
        report(options, lines, enqueued)


if __name__ == "__main__":
    main()
