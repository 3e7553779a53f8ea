"""Celery, through its command line and ``apply_async``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from bench import broker
from bench.contender import BIN, Contender, Producer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from bench.run import Run

_APP = "bench.apps.celery"
_LEVELS = tuple(f"celery_delayed_{level}" for level in range(28))
_DELIVERY = "celery_delayed_delivery"


class _Producer:
    def __init__(self, app: ModuleType, producer: Any) -> None:
        self._app = app
        self._producer = producer

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        eta = None if due is None else datetime.fromtimestamp(due, UTC)
        self._app.app.tasks[task].apply_async((number,), producer=self._producer, eta=eta)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        for number in numbers:
            await self.enqueue(task, number, None if due is None else due[number])


@asynccontextmanager
async def _producing() -> AsyncIterator[Producer]:
    app = import_module(_APP)
    with app.app.producer_pool.acquire(block=True) as producer:
        app.app.amqp.queues[app.app.conf.task_default_queue].bind(producer.channel).declare()
        yield _Producer(app, producer)


class _Celery(Contender):
    name = "celery"
    packages = ("celery", "kombu", "amqp", "gevent")
    loop = "none"
    durability = (
        "persistent (its default), `confirm_publish`, `task_default_queue_type = quorum`,"
        " `task_acks_late` with `task_reject_on_worker_lost`"
    )
    settings = (
        (
            "Pool `solo` for one process, which has the least overhead a task; two solo workers for"
            " two; `prefork` for CPU-bound tasks; `gevent` for I/O; `threads` for synchronous tasks."
        ),
        "`worker_prefetch_multiplier` makes the prefetch that of the others.",
        (
            "`task_ignore_result` where no results are stored; no gossip, mingle, heartbeat, events or remote control"
            " (`--without-…`), as its optimising guide and options allow."
        ),
        (
            "One by one and bulk are the same: `apply_async` waits for the confirm, and its `group`"
            " publishes one after the other. The producer is taken from the pool once."
        ),
        "Delays and retries: its native delayed delivery, which quorum queues switch on.",
    )
    blanks: ClassVar[Mapping[str, str | None]] = {
        "results-none": None,
        "results-rpc": None,
        "results-redis": None,
        "results-*": "no such backend without SQLAlchemy",
    }

    def __init__(self) -> None:
        self._foreign: bool | None = None

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing()

    def workers(self, run: Run) -> list[list[str]]:
        pool, slots, count = "solo", 1, run.processes
        if run.task == "crunch":
            pool, slots, count = "prefork", run.processes, 1
        elif run.task in {"wait", "sync"}:
            pool, slots = ("gevent" if run.task == "wait" else "threads"), run.concurrency
        multiplier = max(1, run.concurrency // slots)
        return [self._command(pool, slots, multiplier, number) for number in range(count)]

    def _command(self, pool: str, slots: int, multiplier: int, number: int) -> list[str]:
        command = [str(BIN / "celery"), "-A", _APP, "worker", "-n", f"bench{number}@%h"]
        sizes = ["-P", pool, "-c", str(slots), "--prefetch-multiplier", str(multiplier)]
        return [
            *command,
            *sizes,
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]

    def exchanges(self, run: Run) -> tuple[str, ...]:
        return (run.name,)

    async def prepare(self, run: Run) -> None:
        """Look whether the names that all Celery applications share belong to someone else."""
        if self._foreign is None:
            self._foreign = await broker.has_exchange(run.url, _DELIVERY)

    async def clean(self, run: Run) -> None:
        """Delete what a run has left, and what Celery shares with no one here."""
        await super().clean(run)
        if self._foreign is False:
            await broker.delete(run.url, queues=_LEVELS, exchanges=(*_LEVELS, _DELIVERY))


CONTENDERS = {"celery": _Celery()}
