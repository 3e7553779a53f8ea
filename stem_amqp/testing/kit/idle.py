"""Wait until the workers of a test are idle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.worker import MemoryWorker

_QUIET_TURNS = 5
"""Iterations of the event loop without any activity after which none will follow."""
_BUSY_TURNS = 100
"""Iterations after which waiting yields the processor to threads."""
_POLL = 0.001


async def until_idle(
    home: InMemory, workers: Sequence[MemoryWorker], timeout: float, *, flush: bool
) -> None:
    """Wait until nothing is due, and no active worker has unsettled deliveries.

    Messages of a batch that is not full may stay unsettled.

    Args:
        home: the application's stand-in with the broker.
        workers: the workers.
        timeout: real seconds.
        flush: whether batches that are not full run now.

    Raises:
        TimeoutError: it takes longer.
    """
    give_up = time.monotonic() + timeout
    turns = quiet = 0
    while quiet < _QUIET_TURNS:
        turns += 1
        await asyncio.sleep(0 if turns < _BUSY_TURNS else _POLL)
        home.clock.advance(0.0)  # deliver what is due at the current time
        active = [worker for worker in workers if not worker.frozen]
        busy = any(worker.unsettled > worker.collected for worker in active)
        quiet = 0 if busy or not home.broker.engine.quiet else quiet + 1
        if flush and quiet == _QUIET_TURNS and any(worker.collected for worker in active):
            for worker in active:
                worker.flush_batches()
            quiet = 0
        if time.monotonic() > give_up:
            raise TimeoutError(_stuck(workers, timeout))


def _stuck(workers: Sequence[MemoryWorker], timeout: float) -> str:
    tasks = [f"  - {task}" for worker in workers if not worker.frozen for task in worker.tasks]
    lines = "\n".join(tasks or ["  - none that runs: something is being settled"])
    return (
        f"after {timeout:g} s of real time, these tasks have not ended:\n{lines}\n"
        "A task that waits for something that the test does later needs a worker in the background:"
        " `async with stem_memory.worker():`."
    )
