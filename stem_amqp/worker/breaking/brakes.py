"""What stops a worker from running tasks: pauses by directives, and breakers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stem_amqp.worker.breaking.breakers import Breakers
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.pauses.pauses import Pauses
from stem_amqp.worker.settle import Settler
from stem_amqp.worker.steering.steering import Steering


class Brakes:
    """The pauses and the breakers of a worker.

    Args:
        parts: the worker's parts.
        steering: what it has been told.
        worker: its name.

    Attributes:
        pauses: carries out pauses.
        breakers: opens and closes breakers.
    """

    def __init__(self, parts: WorkerParts, steering: Steering, worker: str) -> None:
        self.pauses = Pauses(
            parts.blueprint,
            parts.connected.transport,
            steering.directives,
            steering.desk.issue,
            worker=worker,
            reread=steering.keeper.read,
        )
        self.breakers = Breakers(
            parts.blueprint,
            parts.connected,
            steering.directives,
            steering.desk.issue,
            pauses=self.pauses,
            worker=worker,
        )

    def attach(
        self, consumers: Sequence[QueueConsumer], executor: Executor, settler: Settler
    ) -> None:
        """Set what is stopped, and what reports how runs end.

        Args:
            consumers: the worker's consumers.
            executor: asks which tasks are paused, and reports the ends of runs where there are breakers.
            settler: moves the messages of paused tasks.
        """
        self.pauses.attach(consumers)
        self.breakers.attach(consumers)
        settler.holding = self.pauses.holding
        if self.breakers:
            executor.on_ended = self.breakers.ended

    async def prepare(self) -> None:
        """Pause what must not be consumed from the start, before any consumer starts."""
        await self.pauses.prepare()

    def background(self) -> set[asyncio.Task[None]]:
        """Start the tasks that run beside the consumers; the worker ends them."""
        found = {asyncio.create_task(self.pauses.run(), name="worker pauses")}
        if self.breakers:
            found.add(asyncio.create_task(self.breakers.run(), name="worker breakers"))
        return found
