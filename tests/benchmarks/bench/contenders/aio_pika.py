"""The raw client: aio-pika as its documentation shows it, with a loop of one's own around it."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, ClassVar

import aio_pika

from bench import broker
from bench.contender import PYTHON, Contender, Producer, in_flight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aio_pika.abc import AbstractExchange

    from bench.run import Run


class _Producer:
    def __init__(self, exchange: AbstractExchange, queue: str) -> None:
        self._exchange = exchange
        self._queue = queue

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        message = aio_pika.Message(
            json.dumps({"task": task, "number": number}).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self._exchange.publish(message, self._queue)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        await in_flight(lambda number: self.enqueue(task, number), numbers)


@asynccontextmanager
async def _producing(run: Run) -> AsyncIterator[Producer]:
    async with await aio_pika.connect_robust(run.url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(run.name, durable=True, arguments=broker.QUORUM)
        yield _Producer(channel.default_exchange, run.name)


RAW_BLANKS = {
    "results-*": "a client: it stores no results",
    "storm": "a client: it has no retries",
    "delayed": "a client: it has no delays",
    "drain-cpu": "a client: it has no processes",
}


class _AioPika(Contender):
    packages = ("aio-pika", "aiormq", "uvloop")
    blanks: ClassVar[Mapping[str, str | None]] = RAW_BLANKS
    durability = "persistent, publisher confirms, mandatory, quorum queue, acked after the work"

    def __init__(self, name: str, loop: str) -> None:
        self.name = name
        self.loop = loop
        self.settings = (
            "`connect_robust`, publisher confirms and `on_return_raises`; one channel each way.",
            "Bulk: 500 publishes in flight. One by one, a confirm is awaited before the next.",
            (
                "Consumer: `queue.consume` and `async with message.process()`, one ack a message, as"
                " its documentation shows; the prefetch is the concurrency."
            ),
            f"Event loop: {loop}. Body: JSON with the name and one number.",
        )

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing(run)

    def workers(self, run: Run) -> list[list[str]]:
        return [[PYTHON, "-m", "bench.apps.aio_pika", self.loop]] * run.processes


CONTENDERS = {
    "aio-pika": _AioPika("aio-pika", "uvloop"),
    "aio-pika-asyncio": _AioPika("aio-pika-asyncio", "asyncio"),
}
