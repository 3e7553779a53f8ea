"""Dramatiq, through its command line and ``actor.send``."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from bench.contender import BIN, Contender, Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from bench.run import Run

_APP = "bench.apps.dramatiq"
THREADS = 8
"""Its default."""


class _Producer:
    def __init__(self, app: ModuleType) -> None:
        self._app = app

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        actor = self._app.TASKS[task]
        if due is None:
            actor.send(number)
        else:
            delay = max(0, round((due - time.time()) * 1000))
            actor.send_with_options(args=(number,), delay=delay)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        for number in numbers:
            await self.enqueue(task, number, None if due is None else due[number])


@asynccontextmanager
async def _producing(run: Run) -> AsyncIterator[Producer]:
    app = import_module(_APP)
    app.broker.declare_queue(run.name, ensure=True)
    try:
        yield _Producer(app)
    finally:
        app.broker.close()


class _Dramatiq(Contender):
    name = "dramatiq"
    packages = ("dramatiq", "pika", "gevent")
    loop = "none"
    durability = (
        "persistent (its default), `confirm_delivery=True`, acked after the work (its default),"
        " quorum queues by a subclass of its broker, which has no option for the queue type"
    )
    settings = (
        (
            "8 threads a process, its default; as many as the concurrency for synchronous tasks;"
            " `dramatiq-gevent` for I/O; one thread for each of two processes for CPU-bound tasks."
        ),
        "`dramatiq_queue_prefetch` makes the prefetch that of the others.",
        (
            "One by one and bulk are the same: `send` waits for the confirm, and its `group` sends"
            " one after the other."
        ),
        "Retries: `raise Retry(delay=2000)`, without its jitter. Its default middleware is kept.",
    )
    blanks: ClassVar[Mapping[str, str | None]] = {
        "results-none": None,
        "results-redis": None,
        "results-*": "its result backends are Redis and Memcached",
    }

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing(run)

    def workers(self, run: Run) -> list[list[str]]:
        threads = {"wait": run.concurrency, "sync": run.concurrency, "crunch": 1}
        program = "dramatiq-gevent" if run.task == "wait" else "dramatiq"
        sizes = ["--threads", str(threads.get(run.task, THREADS))]
        return [[str(BIN / program), _APP, "--processes", str(run.processes), *sizes]]

    def environment(self, run: Run) -> dict[str, str]:
        return {"dramatiq_queue_prefetch": str(run.concurrency)}

    def queues(self, run: Run) -> tuple[str, ...]:
        return (run.name, f"{run.name}.DQ", f"{run.name}.XQ")


CONTENDERS = {"dramatiq": _Dramatiq()}
