"""Test workers that are killed with SIGKILL while they drain a queue."""

import collections
import textwrap
import uuid
from pathlib import Path

import pytest
from forked_python import start_python
from support import eventually

from stem_amqp import Stem

PREFETCH = 100
TASKS = 4000
APPLICATION = """
    import os
    from stem_amqp import Stem

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @stem.task("note", queue="q")
    async def note(number: int) -> None:
        os.write(book, b"%d\\n" % number)  # one write is there or it is not
"""


@pytest.fixture(params=["rpc://", "sqlite"])
async def stem(request, stem_broker_url, tmp_path):
    """Yield an application that enqueues; its results are in replies, or in a shared file."""
    url = f"sqlite:///{tmp_path}/results.db" if request.param == "sqlite" else request.param
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    stem = Stem(broker_url=stem_broker_url, namespace=namespace, backend_url=url)
    stem.task("note", queue="q")(lambda number: None)
    yield stem
    async with stem:
        await stem.connected.transport.delete(stem.blueprint.entities)


@pytest.fixture
def start(stem, stem_broker_url, tmp_path, monkeypatch):
    """Yield a function that starts workers in separate processes, as in production."""
    started = []
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
    monkeypatch.setenv("STEM_NAMESPACE", stem.settings.namespace)
    monkeypatch.setenv("STEM_BACKEND_URL", stem.settings.backend_url.get_secret_value())

    def start():
        command = ["-m", "stem_amqp", "worker", "application:stem"]
        log = (tmp_path / "log").open("ab")
        worker = start_python(*command, "--concurrency", str(PREFETCH), cwd=tmp_path, stderr=log)
        log.close()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait(60)


def read(book: Path):
    """Return how often each task ran."""
    if not book.exists():
        return collections.Counter()
    return collections.Counter(int(line) for line in book.read_text().split())


async def test_workers_killed_in_the_middle_of_a_drain_lose_nothing(stem, start, tmp_path):
    """Every task runs, and only unsettled ones run again: at most a prefetch for each kill."""
    kills, book = 3, tmp_path / "book"
    async with stem:
        await stem.enqueue_many(stem.prepare("note", {"number": n}) for n in range(TASKS))
        for number in range(kills):
            worker = start()
            goal = TASKS * (number + 1) // 5
            await eventually(lambda goal=goal: read(book).total() >= goal, "progress", timeout=60)
            worker.kill()
            worker.wait(60)
        start()
        await eventually(lambda: len(read(book)) == TASKS, "every task", timeout=60)
        name = stem.names.work("q")
        transport = stem.connected.transport
        await eventually(lambda: empty(transport, name), "an empty queue")
    runs = read(book)
    assert set(runs) == set(range(TASKS))
    assert runs.total() - TASKS <= kills * PREFETCH
    assert set(runs.values()) <= set(range(1, kills + 2))


async def empty(transport, name):
    """Return whether a queue has no ready messages."""
    return (await transport.status([name]))[name].ready == 0
