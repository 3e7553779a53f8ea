"""taskiq with taskiq-aio-pika, through its command line and ``kiq``."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from bench.contender import BIN, Contender, Producer, in_flight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from bench.run import Run

_APP = "bench.apps.taskiq"


class _Producer:
    def __init__(self, app: ModuleType) -> None:
        self._app = app

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        chosen = self._app.TASKS[task]
        if due is not None:
            chosen = chosen.kicker().with_labels(delay=max(0.0, due - time.time()))
        await chosen.kiq(number)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        async def send(number: int) -> None:
            await self.enqueue(task, number, None if due is None else due[number])

        await in_flight(send, numbers)


@asynccontextmanager
async def _producing() -> AsyncIterator[Producer]:
    app = import_module(_APP)
    await app.broker.startup()
    try:
        yield _Producer(app)
    finally:
        await app.broker.shutdown()


class _Taskiq(Contender):
    name = "taskiq"
    packages = ("taskiq", "taskiq-aio-pika", "taskiq-redis", "aio-pika", "uvloop")
    loop = "uvloop"
    durability = (
        "persistent and confirmed (its defaults), `QueueType.QUORUM`, acked when the result is"
        " saved (`--ack-type when_saved`, its default)"
    )
    settings = (
        (
            "`--max-async-tasks` and `qos` are the concurrency; `--max-threadpool-threads` for"
            " synchronous tasks; `--use-process-pool` for CPU-bound ones."
        ),
        "uvloop is installed, which its worker then uses by itself. Its log level is WARNING.",
        "Bulk: 500 `kiq` in flight, since there is no call for many.",
        (
            "Delays: its `delay_queue`, in which every message has a TTL of its own. Retries:"
            " `SmartRetryMiddleware` of 2 s without jitter."
        ),
    )
    blanks: ClassVar[Mapping[str, str | None]] = {
        "results-none": None,
        "results-redis": None,
        "results-*": "measured with Redis only",
    }

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing()

    def workers(self, run: Run) -> list[list[str]]:
        command = [str(BIN / "taskiq"), "worker", f"{_APP}:broker", "--log-level", "WARNING"]
        sizes = ["--max-async-tasks", str(run.concurrency), "--ack-type", "when_saved"]
        if run.task == "crunch":
            pool = ["--use-process-pool", "--max-process-pool-processes", str(run.processes)]
            return [[*command, *sizes, *pool, "--workers", "1"]]
        threads = ["--max-threadpool-threads", str(run.concurrency)]
        return [[*command, *sizes, *threads, "--workers", str(run.processes)]]

    def queues(self, run: Run) -> tuple[str, ...]:
        return (run.name, f"{run.name}.dead", f"{run.name}.delay")

    def exchanges(self, run: Run) -> tuple[str, ...]:
        return (run.name,)


CONTENDERS = {"taskiq": _Taskiq()}
