"""Waiting until the workers of a test have nothing to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.testing.kit.worker import MemoryWorker

_QUIET_TURNS = 5
"""Turns of the event loop in which nothing happens, after which nothing will."""
_BUSY_TURNS = 100
"""Turns after which waiting leaves the processor to threads."""
_POLL = 0.001


async def until_idle(home: InMemory, workers: Sequence[MemoryWorker], timeout: float) -> None:
    """Wait until nothing is due, and no worker that goes on has anything to settle.

    Args:
        home: where the broker is.
        workers: the workers.
        timeout: real seconds that it may take.

    Raises:
        TimeoutError: it takes longer.
    """
    give_up = time.monotonic() + timeout
    turns = quiet = 0
    while quiet < _QUIET_TURNS:
        turns += 1
        await asyncio.sleep(0 if turns < _BUSY_TURNS else _POLL)
        home.clock.advance(0.0)  # what is due at this very moment
        busy = any(worker.unsettled for worker in workers if not worker.frozen)
        quiet = 0 if busy or not home.broker.engine.quiet else quiet + 1
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
