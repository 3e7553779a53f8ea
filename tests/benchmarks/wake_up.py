"""Measure the time from a result's write in one process to the wake-up of a waiter in another.

    python tests/benchmarks/wake_up.py redis://localhost:6379/0 [runs]

The backend can be any that several processes share. Both processes run on this machine, so that one clock
measures both ends: from before the write of ``succeeded`` until `ResultBackend.wait` has returned.
"""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time

from stem_amqp.clock import SystemClock
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.factory import create
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport

RUNS = 500
PAUSE = 0.02
"""Seconds between a wait's beginning and the write: the waiter is idle by then."""


@contextlib.asynccontextmanager
async def opened(url: str, namespace: str):
    """Yield an open backend."""
    transport = MemoryTransport(MemoryBroker())
    backend = create(
        url, clock=SystemClock(), transport=transport, names=Names(namespace), ttl=60.0
    )
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def write(url: str, namespace: str) -> None:
    """Store the end of each task whose id arrives, and answer with the time before the write."""
    async with opened(url, namespace) as backend:
        print("ready", flush=True)
        while task_id := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await asyncio.sleep(PAUSE)
            begun = time.monotonic()
            change = Transition(
                task_id=task_id,
                task="wake",
                queue="figures",
                state=TaskState.SUCCEEDED,
                result=b"1",
                at=time.time(),
                ttl=60.0,
            )
            await backend.transition([change])
            print(begun, flush=True)


async def measure(url: str, namespace: str, runs: int) -> list[float]:
    """Wait for a number of tasks, one after the other, and return the milliseconds of each."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        *(__file__, url, "--write", namespace),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    await writer.stdout.readline()
    taken = []
    async with opened(url, namespace) as backend:
        for _ in range(runs):
            task_id = new_id()
            writer.stdin.write(f"{task_id}\n".encode())
            await backend.wait(task_id, 30)
            woken = time.monotonic()
            taken.append((woken - float(await writer.stdout.readline())) * 1000)
    writer.stdin.close()
    await writer.wait()
    return taken


def main() -> None:
    """Measure, or run as the process that writes."""
    url = sys.argv[1]
    if "--write" in sys.argv:
        asyncio.run(write(url, sys.argv[3]))
        return
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else RUNS
    taken = sorted(asyncio.run(measure(url, "figures", runs)))
    print(f"{runs} results, from the write to the waiter in another process:")
    print(
        f"  median {statistics.median(taken):.1f} ms, p99 {taken[int(runs * 0.99)]:.1f} ms, worst {taken[-1]:.1f} ms"
    )


if __name__ == "__main__":
    main()
