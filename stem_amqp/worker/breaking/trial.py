"""Lets one run of a paused queue or task start, and says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from stem_amqp.cancellation import end
from stem_amqp.directives.state import Directives
from stem_amqp.worker.breaking.circuit import Circuit
from stem_amqp.worker.breaking.verdict import failed
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.job import Job
from stem_amqp.worker.pauses.pauses import Pauses

log = logging.getLogger("stem_amqp.worker")

CHECK = 0.5
"""Seconds between two checks whether the breaker is still open, while a trial waits for a message."""


class Trial:
    """One run of a queue or task whose breaker is open.

    Args:
        circuit: the breaker.
        consumers: the worker's consumers.
        pauses: carries out the pauses in this worker.
        directives: what holds in this worker.
    """

    def __init__(
        self,
        circuit: Circuit,
        consumers: Sequence[QueueConsumer],
        pauses: Pauses,
        directives: Directives,
    ) -> None:
        self._circuit = circuit
        self._consumers = consumers
        self._pauses = pauses
        self._directives = directives

    async def verdict(self) -> bool | None:
        """Let one run start, and return whether it failed; None if the breaker was closed meanwhile.

        A message that leads to no run, such as an expired one, decides nothing: the next one does.

        Raises:
            BrokerError: the queue cannot be consumed.
        """
        while True:
            job = await self._while_open()
            if job is None:
                return None
            for consumer in self._consumers:
                await consumer.wait_for(job)
            if job.started and job.outcome is not None:
                bad = failed(job.outcome)
                if bad is not None:
                    return bad

    async def _while_open(self) -> Job | None:
        """Return the next job; None if the breaker is closed, or an operator pauses, before one comes."""
        task = asyncio.create_task(self._next())
        try:
            while not task.done():
                circuit, directives = self._circuit, self._directives
                if circuit.opening(directives) is None or circuit.is_paused_by_others(directives):
                    return None
                await asyncio.wait({task}, timeout=CHECK)
            return task.result()
        finally:
            if not task.done():
                await end(task)

    async def _next(self) -> Job:
        if self._circuit.kind == "queue":
            consumer = next(one for one in self._consumers if one.queue == self._circuit.name)
            return await consumer.intake.try_one(await self._pauses.waiting(consumer))
        return await self._pauses.try_task(self._circuit.name)
