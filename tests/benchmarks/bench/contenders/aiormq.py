"""The floor: the aiormq channel that aio-pika and stem-amqp stand on."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import aiormq

from bench import broker
from bench.contender import PYTHON, Contender, Producer, in_flight
from bench.contenders.aio_pika import RAW_BLANKS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiormq.abc import AbstractChannel

    from bench.run import Run


class _Producer:
    def __init__(self, channel: AbstractChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        properties = aiormq.spec.Basic.Properties(content_type="application/json", delivery_mode=2)
        await self._channel.basic_publish(
            json.dumps({"task": task, "number": number}).encode(),
            routing_key=self._queue,
            properties=properties,
            mandatory=True,
        )

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        await in_flight(lambda number: self.enqueue(task, number), numbers)


@asynccontextmanager
async def _producing(run: Run) -> AsyncIterator[Producer]:
    connection = await aiormq.connect(run.url)
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.queue_declare(run.name, durable=True, arguments=broker.QUORUM)
        yield _Producer(channel, run.name)
    finally:
        await connection.close()


class _Aiormq(Contender):
    name = "aiormq"
    packages = ("aiormq", "pamqp", "uvloop")
    loop = "uvloop"
    blanks: ClassVar[Mapping[str, str | None]] = RAW_BLANKS
    durability = "persistent, publisher confirms, mandatory, quorum queue, acked after the work"
    settings = (
        "The channel alone: no recovery, no message objects.",
        "Bulk: 500 publishes in flight. One by one, a confirm is awaited before the next.",
        "Consumer: `basic_consume`, one ack a message; the prefetch is the concurrency.",
        "Event loop: uvloop. Body: JSON with the name and one number.",
    )

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing(run)

    def workers(self, run: Run) -> list[list[str]]:
        return [[PYTHON, "-m", "bench.apps.aiormq", self.loop]] * run.processes


CONTENDERS = {"aiormq": _Aiormq()}
