"""Test limits of concurrency while workers are killed with SIGKILL: with a store, and with RabbitMQ alone."""

import textwrap
import time
import uuid

import pytest
from forked_python import start_python
from support import eventually

from stem_amqp import Stem
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.worker.gates.limits.broker_places import place_names

LIMIT = 2
TASKS = 16
APPLICATION = """
    import asyncio
    import os
    import time
    from stem_amqp import Stem

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what, number):
        os.write(book, b"%s %d %d %f\\n" % (what, number, os.getpid(), time.time()))

    @stem.task("limited", queue="q", concurrency_limit=2)
    async def limited(number: int) -> None:
        note(b"begin", number)
        await asyncio.sleep(0.1)
        note(b"end", number)
"""


@pytest.fixture(params=["rpc://", "sqlite"])
async def stem(request, stem_broker_url, tmp_path):
    """Yield an application that enqueues, without a store and with one that its workers share."""
    url = f"sqlite:///{tmp_path}/results.db" if request.param == "sqlite" else request.param
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    stem = Stem(broker_url=stem_broker_url, namespace=namespace, backend_url=url)
    stem.task("limited", queue="q")(lambda number: None)
    yield stem
    async with stem:
        names = place_names(stem.names, f"{namespace}/task:limited at once", LIMIT)
        places = Entities(queues=tuple(Queue(name=name) for name in names))
        await stem.connected.transport.delete(places)
        await stem.connected.transport.delete(stem.blueprint.entities)


@pytest.fixture
def start(stem, stem_broker_url, tmp_path, monkeypatch):
    """Yield a function that starts a worker in a process of its own."""
    started = []
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
    monkeypatch.setenv("STEM_NAMESPACE", stem.settings.namespace)
    monkeypatch.setenv("STEM_BACKEND_URL", stem.settings.backend_url.get_secret_value())
    monkeypatch.setenv("STEM_LIMIT_LEASE_TTL", "8s")

    def start():
        command = ["-m", "stem_amqp", "worker", "application:stem"]
        with (tmp_path / "log").open("ab") as log:
            started.append(start_python(*command, "--concurrency", "4", cwd=tmp_path, stderr=log))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait(60)


def read(book):
    """Return the lines of the book: what happened, the task's number, the process, the time."""
    text = book.read_text() if book.exists() else ""
    lines = text.rpartition("\n")[0].splitlines()  # the last one may be half written
    return [
        (what, int(number), int(process), float(at))
        for what, number, process, at in map(str.split, lines)
    ]


def most_at_once(lines, deaths):
    """Return the most runs at the same time; the runs of a process end at its death at the latest."""
    ends = {(process, number): at for what, number, process, at in lines if what == "end"}
    changes = []
    for what, number, process, at in lines:
        end = ends.get((process, number), deaths.get(process, float("inf")))
        if what == "begin" and at < end:
            changes += [(at, 1), (end, -1)]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


@pytest.mark.timeout(400)
async def test_the_places_of_a_killed_worker_are_free_again_and_the_limit_holds(
    stem, start, tmp_path
):
    """All tasks end although a worker dies in the middle, and never more than two run at once."""
    book, deaths = tmp_path / "book", {}
    async with stem:
        await stem.enqueue_many(stem.prepare("limited", {"number": n}) for n in range(TASKS))
        first = start()
        start()

        def runs_there():
            lines = read(book)
            ended = {number for what, number, _, _ in lines if what == "end"}
            return any(
                process == first.pid and number not in ended for _, number, process, _ in lines
            )

        await eventually(runs_there, timeout=120)
        deaths[first.pid] = time.time()
        first.kill()
        first.wait(60)
        await eventually(
            lambda: len({n for what, n, _, _ in read(book) if what == "end"}) == TASKS, timeout=240
        )
    assert most_at_once(read(book), deaths) <= LIMIT
