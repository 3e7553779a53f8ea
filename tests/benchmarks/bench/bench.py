"""One measurement at work: a contender, its run and its marks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench import broker
from bench.marks import Marks
from bench.workers import WorkerFailedError, Workers, working

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from bench.contender import Contender, Producer
    from bench.run import Run

STALL = 60.0
"""Seconds without a finished task after which a worker counts as stuck."""
POLL = 0.02
SETTLED = 5.0
"""Seconds in which the broker knows of every ack; what is in the queue then has come back."""
ACKS = 1.5
"""Seconds for the last acks, before the workers are asked to stop.

Celery sends acks with a later turn of its loop, up to a second after the task, and drops those that
wait when it is stopped.
"""


class Bench:
    """What the cases measure with.

    Args:
        contender: what is measured.
        run: its names and sizes.
    """

    def __init__(self, contender: Contender, run: Run) -> None:
        self.contender = contender
        self.run = run
        self.queue = contender.queue(run)
        self.marks = Marks.create(run.marks, 2 * run.size)

    def producing(self) -> AbstractAsyncContextManager[Producer]:
        """Open the contender's producer for a block."""
        return self.contender.producer(self.run)

    def working(self) -> AbstractContextManager[Workers]:
        """Run the contender's workers for a block."""
        return working(self.contender, self.run)

    async def until_run(self, workers: Workers, count: int, start: int = 0) -> None:
        """Wait until ``count`` slots of the marks from ``start`` on are filled.

        Raises:
            WorkerFailedError: a worker ended, or no task was run for a long time.
        """
        filled, moved_at = -1, time.monotonic()
        while not self.marks.reached(count, start):
            await asyncio.sleep(POLL)
            if time.monotonic() - moved_at > 1:
                workers.check()
                now_filled = self.marks.filled()
                if now_filled != filled:
                    filled, moved_at = now_filled, time.monotonic()
                elif time.monotonic() - moved_at > STALL:
                    raise WorkerFailedError(
                        f"stuck at {filled} of {start + count} tasks\n{workers.log()}"
                    )

    async def until_acked(self, workers: Workers) -> None:
        """Stop the workers, and see that nothing comes back: everything was acked.

        Raises:
            WorkerFailedError: messages came back.
        """
        await asyncio.sleep(ACKS)
        await asyncio.to_thread(workers.stop)
        deadline = time.monotonic() + SETTLED
        # A quorum queue works off the last acks after the connection that sent them has closed
        while left := await broker.depth(self.run.url, self.queue):
            if time.monotonic() > deadline:
                raise WorkerFailedError(f"{left} messages were not acked\n{workers.log()}")
            await asyncio.sleep(POLL)
