"""FastStream on RabbitMQ, through its command line and ``broker.publish``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from bench.contender import BIN, Contender, Producer, in_flight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from bench.run import Run

_APP = "bench.apps.faststream"


class _Producer:
    def __init__(self, app: ModuleType) -> None:
        self._app = app

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        await self._app.broker.publish(number, queue=self._app.queue, persist=True)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        await in_flight(lambda number: self.enqueue(task, number), numbers)


@asynccontextmanager
async def _producing() -> AsyncIterator[Producer]:
    app = import_module(_APP)
    async with app.broker:
        await app.broker.declare_queue(app.queue)
        yield _Producer(app)


class _FastStream(Contender):
    name = "faststream"
    packages = ("faststream", "aio-pika", "uvloop")
    loop = "uvloop"
    durability = (
        "`persist=True`, `publisher_confirms` (its default), `QueueType.QUORUM`, acked after the"
        " handler (`AckPolicy.REJECT_ON_ERROR`, its default)"
    )
    settings = (
        "`Channel(prefetch_count=…)` is the concurrency: it handles what is delivered at once.",
        (
            "uvloop is installed, which `faststream run` then uses by itself. `logger=None`, since it"
            " logs every message otherwise."
        ),
        "Bulk: 500 `publish` in flight, since there is no call for many.",
        (
            "A message stream, not a task queue: one subscriber for the one kind of task. Its body is"
            " the number alone."
        ),
    )
    blanks: ClassVar[Mapping[str, str | None]] = {
        "results-*": "it stores no results",
        "storm": "it has no delayed retries",
        "delayed": "it has no delays",
    }

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing()

    def workers(self, run: Run) -> list[list[str]]:
        command = [str(BIN / "faststream"), "run", f"{_APP}:app"]
        return [[*command, "--workers", str(run.processes)]]


CONTENDERS = {"faststream": _FastStream()}
