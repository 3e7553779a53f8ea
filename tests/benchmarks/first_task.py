"""Measure the time from a new process to a first result, on an existing topology.

It consists of import, connect, declare, enqueue, run and the reply: what a new producer with its
worker needs.
"""

import statistics
import subprocess
import sys
import time
import uuid

PROGRAM = """
import asyncio, sys, time
begun = time.perf_counter()
from stem_amqp import Stem
imported = time.perf_counter()
stem = Stem(namespace=sys.argv[1])

@stem.task("first", queue="figures")
async def first() -> int:
    return 1

async def main():
    async with stem:
        connected = time.perf_counter()
        async with stem.worker().running():
            ready = time.perf_counter()
            await (await first.enqueue()).result(timeout=20)
            done = time.perf_counter()
        if sys.argv[2] == "last":
            await stem.connected.transport.delete(stem.blueprint.entities)
    print(imported - begun, connected - imported, ready - connected, done - ready)

asyncio.run(main())
"""
STEPS = ("import", "connect and declare", "worker ready", "enqueue, run and reply")


def main() -> None:
    """Measure the first run and the following ones."""
    namespace, runs = f"figures-{uuid.uuid4().hex[:6]}", 7
    measured = []
    for number in range(runs):
        begun = time.perf_counter()
        which = "last" if number == runs - 1 else "more"
        command = [sys.executable, "-c", PROGRAM, namespace, which]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if which != "last":
            wall = time.perf_counter() - begun
            measured.append([float(part) for part in output.split()] + [wall])
    for title, chosen in (("first start", measured[:1]), ("later starts", measured[1:])):
        print(f"{title} (median of {len(chosen)}):")
        for step, values in zip((*STEPS, "whole process"), zip(*chosen, strict=True), strict=True):
            print(f"  {statistics.median(values) * 1000:7.0f} ms  {step}")


if __name__ == "__main__":
    main()
