"""Test workers and brokers that die while a task is paused: its messages wait, and each runs in the end."""

import asyncio
import collections
import textwrap
import uuid

import pytest
from forked_python import start_python
from support import eventually

from stem_amqp import Stem
from stem_amqp.directives.model import Directive, Kind, Target

pytestmark = pytest.mark.timeout(900)  # uses private nodes: not marked as rabbitmq

PAUSED, OTHERS, PREFETCH = 400, 60, 20
APPLICATION = """
    import os
    from stem_amqp import Stem

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @stem.task("paused", queue="q")
    async def paused(number: int) -> None:
        os.write(book, b"paused %d\\n" % number)  # one write is there or it is not

    @stem.task("other", queue="q")
    async def other(number: int) -> None:
        os.write(book, b"other %d\\n" % number)
"""


@pytest.fixture
async def stem(node):
    """Yield an application on a private node, which stores directives too."""
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    stem = Stem(broker_url=node.url, namespace=namespace, backend_url="rpc://")
    for name in ("paused", "other"):
        stem.task(name, queue="q")(lambda number: None)
    async with stem:
        yield stem


@pytest.fixture
def start(stem, node, tmp_path, monkeypatch):
    """Yield a function that starts workers in separate processes, as in production."""
    started = []
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.setenv("STEM_BROKER_URL", node.url)
    monkeypatch.setenv("STEM_NAMESPACE", stem.settings.namespace)
    monkeypatch.setenv("STEM_BACKEND_URL", stem.settings.backend_url.get_secret_value())

    def start():
        command = ["-m", "stem_amqp", "worker", "application:stem"]
        with (tmp_path / "log").open("ab") as log:
            worker = start_python(
                *command, "--concurrency", str(PREFETCH), cwd=tmp_path, stderr=log
            )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.wait(60)


async def test_a_paused_task_outlives_killed_workers_and_a_killed_broker(
    stem, start, node, tmp_path
):
    """Every task runs, none of the paused ones before the resume; a kill repeats at most a prefetch."""
    desk, transport = stem.connected.desk(stem.blueprint), stem.connected.transport
    held, book = stem.names.held("q", "paused"), tmp_path / "book"

    def runs(task):
        lines = book.read_text().splitlines() if book.exists() else []
        return collections.Counter(int(line.split()[1]) for line in lines if line.startswith(task))

    async def waiting():
        await asyncio.sleep(0.1)  # each look is a request to the broker
        found = (await transport.status([held]))[held]
        return 0 if found is None else found.ready

    async def is_waiting(number):
        return await waiting() >= number

    await desk.issue(Directive(kind=Kind.PAUSE, target=Target(task="paused"), reason="a test"))
    await stem.enqueue_many(stem.prepare("paused", {"number": n}) for n in range(PAUSED))
    await stem.enqueue_many(stem.prepare("other", {"number": n}) for n in range(OTHERS))
    first = start()
    await eventually(lambda: is_waiting(PREFETCH), "messages that wait", timeout=200)
    first.kill()
    first.wait(60)
    start()
    await eventually(lambda: len(runs("other")) == OTHERS, "the other tasks", timeout=200)
    await eventually(lambda: is_waiting(PAUSED), "all messages", timeout=200)
    node.keep_queues()
    node.kill()
    node.start()
    await eventually(lambda: is_waiting(PAUSED), "all messages again", timeout=200)
    assert not runs("paused")
    await desk.withdraw(Kind.PAUSE, Target(task="paused"))
    await eventually(lambda: len(runs("paused")) == PAUSED, "the paused tasks", timeout=200)
    again = sum(runs("paused").values()) - PAUSED
    assert again <= PREFETCH
    assert set(runs("paused")) == set(range(PAUSED))
