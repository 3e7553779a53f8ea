"""stem-amqp, through its public API and its command line."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from bench.contender import PYTHON, Contender, Producer, UnsupportedError
from stem_amqp import Stem
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Settings
from stem_amqp.topology.compile import compile_topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import ModuleType

    from bench.run import Run

_APP = "bench.apps.stem"


class _Producer:
    def __init__(self, app: ModuleType) -> None:
        self._app = app

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        chosen = self._app.TASKS[task]
        if due is not None:
            chosen = chosen.options(eta=datetime.fromtimestamp(due, UTC))
        await chosen.enqueue(number)

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        chosen = self._app.TASKS[task]
        if due is None:
            calls = (chosen.prepare(number) for number in numbers)
        else:
            calls = (
                chosen.options(eta=datetime.fromtimestamp(due[number], UTC)).prepare(number)
                for number in numbers
            )
        await self._app.stem.enqueue_many(calls)


@asynccontextmanager
async def _producing() -> AsyncIterator[Producer]:
    app = import_module(_APP)
    try:
        await app.stem.connect()
    except ConfigurationError as error:
        raise UnsupportedError(str(error)) from error
    try:
        yield _Producer(app)
    finally:
        await app.stem.close()


class _Stem(Contender):
    name = "stem"
    packages = ("stem-amqp", "aio-pika", "uvloop")
    loop = "uvloop"
    durability = "always so: persistent, confirmed, mandatory, quorum queues, acked last"
    settings = (
        "Defaults, but for the concurrency. The prefetch is the concurrency.",
        "uvloop is installed, which its worker then uses by itself.",
        "Bulk: `stem.enqueue_many`, with its default window of 500 publishes to be confirmed.",
        "Tasks without results say `ignore_result=True`.",
    )

    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        return _producing()

    def workers(self, run: Run) -> list[list[str]]:
        command = [PYTHON, "-m", "stem_amqp", "worker", f"{_APP}:stem", "--log-level", "WARNING"]
        sizes = ["--concurrency", str(run.concurrency), "--processes", str(run.processes)]
        return [command + sizes]

    def queue(self, run: Run) -> str:
        return f"{run.name}.work"

    async def clean(self, run: Run) -> None:
        """Delete the whole namespace, its 72 delay queues included."""
        settings = Settings.load(
            broker_url=run.url, namespace=run.name, backend_url="memory://bench", provision="none"
        )
        stem = Stem(settings=settings)
        entities = compile_topology(stem.topology, stem.names, ["work"])
        async with stem:
            await stem.connected.transport.delete(entities)


CONTENDERS = {"stem": _Stem()}
