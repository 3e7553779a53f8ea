"""Pauses the queues of synchronous tasks while no thread can run them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from stem_amqp.errors import StemError
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.intake.causes import Cause
from stem_amqp.worker.running.threads import ThreadPool

log = logging.getLogger("stem_amqp.worker")

RETRY = 5.0
"""Seconds until the next attempt to resume a queue that could not be consumed."""


class Relief:
    """Pauses queues of synchronous tasks while runs beyond their time limit hold all threads.

    The tasks of these queues would only wait here; other workers can run them.

    Args:
        threads: the pool of threads.
        consumers: the consumers of the queues of synchronous tasks.
    """

    def __init__(self, threads: ThreadPool, consumers: Sequence[QueueConsumer]) -> None:
        self._threads = threads
        self._consumers = consumers
        self._change = asyncio.Event()

    def changed(self) -> None:
        """Note that all threads are used up, or that one is free again."""
        self._change.set()

    async def run(self) -> None:
        """Pause and resume the queues as the state of the threads changes, until cancelled."""
        while True:
            await self._change.wait()
            self._change.clear()
            if self._threads.used_up:
                await self._pause()
            else:
                await self._resume()

    async def _pause(self) -> None:
        log.critical(
            "no thread is left for synchronous tasks: %d runs exceeded their time limit and hold"
            " their threads. The worker does not consume %s until one returns. Python cannot end a thread:"
            " set timeouts on the blocking calls of such tasks, run them with executor='process',"
            " or restart the worker",
            self._threads.abandoned,
            ", ".join(consumer.queue for consumer in self._consumers) or "its queues",
        )
        for consumer in self._consumers:
            await consumer.pause(Cause.THREADS)

    async def _resume(self) -> None:
        waiting = list(self._consumers)
        while waiting and not self._threads.used_up:
            for consumer in tuple(waiting):
                try:
                    await consumer.resume(Cause.THREADS)
                except StemError as error:
                    log.warning("queue %s cannot be consumed yet: %s", consumer.queue, error)
                else:
                    waiting.remove(consumer)
            if waiting:
                await asyncio.sleep(RETRY)
        if not waiting:
            log.warning("a thread has returned: the worker consumes synchronous tasks again")
