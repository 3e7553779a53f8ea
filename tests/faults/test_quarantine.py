"""Test the quarantine: a task that kills its process is detected, and other tasks run."""

import asyncio
import collections
import signal
import sys
import textwrap
import uuid

import pytest
from forked_python import start_python
from support import eventually

from stem_amqp import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.messages.message import ATTEMPT, REASON
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.features import NATIVE_RETRY, has

APPLICATION = """
    import os, signal, sys
    from stem_amqp import Stem, TaskContext

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @stem.task("note", queue="q")
    async def note(number: int, ctx: TaskContext) -> int:
        ctx.progress(0.5)
        os.write(book, b"%d\\n" % number)
        return number

    @stem.task("poison", queue="q", max_retries=5)
    async def poison(how: str) -> None:
        if how == "exit":
            os._exit(7)
        os.kill(os.getpid(), signal.SIGKILL)

    def in_child() -> bool:
        return sys.modules["__main__"].__spec__.name == "stem_amqp.isolated"

    def effect(name: str) -> dict:
        where = "child" if in_child() else "worker"
        os.write(book, f"{name} {where}\\n".encode())
        return {name: where}

    def die_unless_in_child() -> None:
        if not in_child():
            os.kill(os.getpid(), signal.SIGKILL)

    @stem.task("guarded", queue="q", max_retries=0)
    async def guarded(ctx: TaskContext) -> dict:
        async def charge() -> dict:
            return effect("charge")

        charged = await ctx.once("charge").run(charge)
        die_unless_in_child()
        async with ctx.once("ship", lease="1s") as first:
            if first:
                effect("ship")
        return charged

    @stem.task("guarded-sync", queue="q", max_retries=0)
    def guarded_sync(ctx: TaskContext) -> dict:
        charged = ctx.once("charge").call(lambda: effect("charge"))
        die_unless_in_child()
        with ctx.once("ship", lease="1s") as first:
            if first:
                effect("ship")
        return charged

    @stem.task("dies-inside", queue="q", max_retries=0)
    async def dies_inside(ctx: TaskContext) -> str:
        if b"charge child" not in open("book", "rb").read():
            die_unless_in_child()
        async with ctx.once("charge", lease="1s") as first:
            if first:
                effect("charge")
                if in_child():
                    os.kill(os.getpid(), signal.SIGKILL)
        return "done"
"""
SETTINGS = {"STEM_LOG_LEVEL": "INFO", "STEM_QUARANTINE_AFTER": "2"}


@pytest.fixture
async def stem(stem_broker_url, tmp_path):
    """Yield an application that enqueues; its results are in a file shared with the worker."""
    stem = Stem(
        broker_url=stem_broker_url,
        namespace=f"t-{uuid.uuid4().hex[:8]}",
        backend_url=f"sqlite:///{tmp_path}/results.db",
    )
    stem.task("note", queue="q")(lambda number: None)
    yield stem
    async with stem:
        await stem.connected.transport.delete(stem.blueprint.entities)


@pytest.fixture
def start(stem, stem_broker_url, tmp_path, monkeypatch):
    """Yield a function that starts a worker as in production, after the last one has ended."""
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
    monkeypatch.setenv("STEM_NAMESPACE", stem.settings.namespace)
    monkeypatch.setenv("STEM_BACKEND_URL", stem.settings.backend_url.get_secret_value())
    started = []

    def start():
        for worker in started:
            worker.wait(60)
        command = ["-m", "stem_amqp", "worker", "application:stem"]
        with (tmp_path / "log").open("ab") as log:
            started.append(start_python(*command, "-Q", "q", cwd=tmp_path, stderr=log))
        return started[-1]

    yield start
    for worker in started:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)


async def letters(stem):
    """Return the dead letters."""
    async with stem.connected.transport.browse(stem.names.dlq("q")) as deliveries:
        return [delivery async for delivery in deliveries]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "said"), [("kill", "killed by SIGKILL"), ("exit", "exit code 7")])
async def test_a_task_that_kills_its_process_is_dead_lettered_and_the_others_run(
    stem, start, tmp_path, how, said
):
    """After some failed deliveries each message runs alone; the one that kills is dead-lettered."""
    deaths, book = 0, tmp_path / "book"
    async with stem:
        calls = [stem.prepare("note", {"number": number}) for number in range(4)]
        calls[2:2] = [stem.prepare("poison", {"how": how}, queue="q")]
        handles = await stem.enqueue_many(calls)
        worker = start()
        while not (found := await letters(stem)):
            if worker.poll() is not None:
                deaths += 1
                assert deaths <= 5, (tmp_path / "log").read_text()
                worker = start()
        await eventually(lambda: empty(stem), "an empty queue", timeout=60)
        (letter,) = found
        assert letter.headers[REASON] == "crashed"
        assert said in letter.headers["stem-error"]
        assert letter.type == "poison"
        for number, handle in zip((0, 1, None, 2, 3), handles, strict=True):
            if number is not None:
                assert await handle.result(timeout=60) == number
    assert deaths == 2
    ran = collections.Counter(int(line) for line in book.read_text().split())
    assert set(ran) == set(range(4))
    assert worker.poll() is None


NATIVE = """
version: 1
queues: {q: {native_retry: {min: 100ms}, retry: {max_retries: 1}}}
"""


@pytest.mark.timeout(300)
async def test_on_a_queue_with_native_retries_its_retries_come_first(
    stem, start, tmp_path, monkeypatch
):
    """RabbitMQ counts failures and deaths alike: only deliveries beyond the retries are suspected.

    On a release without native retries the worker does not start, and logs the reason.
    """
    (tmp_path / "topology.yaml").write_text(NATIVE)
    monkeypatch.setenv("STEM_TOPOLOGY", "topology.yaml")
    stem.reconfigure(topology=parse_topology(NATIVE))
    transport = create_transport(stem.settings)
    broker = await transport.connect()
    await transport.close()
    if not has(broker, NATIVE_RETRY):
        worker = start()
        assert await asyncio.to_thread(worker.wait, 30) == 5
        assert "needs RabbitMQ 4.3.1" in (tmp_path / "log").read_text()
        stem.reconfigure(topology=parse_topology("version: 1"))
        return
    deaths = 0
    async with stem:
        call = stem.prepare("poison", {"how": "kill"}, queue="q", max_retries=1)
        await stem.enqueue_many([call])
        worker = start()
        while not (found := await letters(stem)):
            if worker.poll() is not None:
                deaths += 1
                assert deaths <= 5, (tmp_path / "log").read_text()
                worker = start()
        assert found[0].headers[REASON] == "crashed"
        assert found[0].headers[ATTEMPT] == 3
    assert deaths == 3


async def empty(stem):
    """Return whether the work queue has no ready messages."""
    name = stem.names.work("q")
    return (await stem.connected.transport.status([name]))[name].ready == 0


async def test_an_application_that_cannot_be_imported_is_named_as_such(stem, caplog):
    """Messages of an application made in a function run in the worker, up to the broker's limit."""
    from stem_amqp.worker.isolation.quarantine import Quarantine

    delivery = type("Delivery", (), {"redelivered": True, "headers": {"x-delivery-count": 9}})()
    quarantine = Quarantine(stem, stem.settings)
    assert not quarantine.suspects(delivery)
    assert not quarantine.suspects(delivery)
    assert caplog.text.count("not an attribute of a module") == 1


@pytest.mark.parametrize(
    ("headers", "redelivered", "suspected"),
    [
        ({"x-delivery-count": 2}, True, False),
        ({"x-delivery-count": 3}, True, True),
        ({"x-delivery-count": 3}, False, False),
        ({"x-acquired-count": 9}, True, False),
        ({"x-acquired-count": 9, "x-delivery-count": 3}, True, True),
        ({}, True, True),
        ({}, False, False),
    ],
)
async def test_what_is_suspected(stem, monkeypatch, headers, redelivered, suspected):
    """A quorum queue counts deliveries; a classic queue only marks a redelivery."""
    from stem_amqp.worker.isolation.quarantine import Quarantine

    monkeypatch.setattr(sys.modules[__name__], "application", stem, raising=False)
    delivery = type("Delivery", (), {"redelivered": redelivered, "headers": headers})()
    assert Quarantine(stem, stem.settings).suspects(delivery) is suspected
    off = stem.settings.replace(quarantine_after=0)
    assert not Quarantine(stem, off).suspects(delivery)


async def restarted(stem, start, ends):
    """Restart the worker whenever it dies, until a condition holds; return the number of deaths."""
    deaths, worker = 0, start()

    async def ended():
        nonlocal deaths, worker
        if worker.poll() is not None:
            deaths += 1
            assert deaths <= 5
            worker = start()
        return await ends()

    await eventually(ended, "the end of the task", timeout=60)
    return deaths


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", ["guarded", "guarded-sync"])
async def test_a_guarded_block_runs_once_across_worker_and_child(stem, start, tmp_path, task):
    """The child skips the block that the worker completed, and its own guards work too."""
    async with stem:
        handle = await stem.enqueue(task, {}, queue="q")

        async def ended():
            record = await stem.connected.backend.get(handle.id)
            return record is not None and record.state.final

        assert await restarted(stem, start, ended) == 2
        assert await handle.result(timeout=60) == {"charge": "worker"}
    assert (tmp_path / "book").read_text().splitlines() == ["charge worker", "ship child"]


@pytest.mark.timeout(300)
async def test_a_child_that_dies_in_a_guarded_block_leaves_it_to_the_replay(stem, start, tmp_path):
    """A later run enters the interrupted block once its lease has expired."""
    async with stem:
        handle = await stem.enqueue("dies-inside", {}, queue="q")

        async def buried():
            return await letters(stem)

        assert await restarted(stem, start, buried) == 2
        (letter,) = await letters(stem)
        assert letter.headers[REASON] == "crashed"
        assert (await DeadLetters(stem, "q").replay(ALL)).replayed == 1
        assert await handle.result(timeout=60) == "done"
    assert (tmp_path / "book").read_text().splitlines() == ["charge child", "charge worker"]
