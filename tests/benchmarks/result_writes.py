"""Measure the changes per second that a result backend stores, by the size of the batch.

    python tests/benchmarks/result_writes.py redis://localhost:6379/0 [seconds]

Each task is queued, running and succeeded, as a producer and a worker report it. Python's time is that
of this process, which does nothing else; the rest is the store's.
"""

import asyncio
import contextlib
import sys
import time

from stem_amqp.clock import SystemClock
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.factory import create
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport

SIZES = (1, 10, 100, 1000)
SECONDS = 3.0
STATES = (TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED)


def batches(size: int) -> list[list[Transition]]:
    """Return the three batches of a number of tasks."""
    tasks = [new_id() for _ in range(size)]
    return [
        [
            Transition(
                task_id=task_id,
                task="orders.sync",
                queue="orders",
                state=state,
                result=b'{"total": 3}' if state.final else None,
                worker=None if state is TaskState.QUEUED else "worker-1@host:4711",
                at=time.time(),
                ttl=60.0,
            )
            for task_id in tasks
        ]
        for state in STATES
    ]


async def measure(url: str, seconds: float) -> None:
    """Measure each size for a number of seconds."""
    transport = MemoryTransport(MemoryBroker())
    backend = create(
        url, clock=SystemClock(), transport=transport, names=Names("figures"), ttl=60.0
    )
    await backend.open()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(backend.close)
        for size in SIZES:
            stored, taken, python = 0, 0.0, 0.0
            while taken < seconds:
                prepared = batches(size)
                begun, begun_python = time.perf_counter(), time.process_time()
                for batch in prepared:
                    accepted = await backend.transition(batch)
                    stored += accepted.count(True)
                taken += time.perf_counter() - begun
                python += time.process_time() - begun_python
            print(
                f"batches of {size:4}: {stored / taken:7.0f} changes/s,"
                f" {python / stored * 1e6:5.1f} us of Python each"
            )


def main() -> None:
    """Measure the backend of the URL."""
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    asyncio.run(measure(sys.argv[1], seconds))


if __name__ == "__main__":
    main()
