"""Test tasks in a process pool: a killed process affects its own task, and no other."""

import os
import signal
import textwrap
import uuid
from pathlib import Path

import pytest
from forked_python import start_python
from support import eventually

from stem_amqp import Stem
from stem_amqp.messages.message import REASON

APPLICATION = """
    import os, signal, time
    from stem_amqp import Stem, TaskContext

    stem = Stem()
    book = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(word):
        os.write(book, f"{word} {os.getpid()}\\n".encode())

    @stem.task("square", queue="q", executor="process")
    def square(number: int, ctx: TaskContext) -> int:
        ctx.progress(0.5)
        write(f"square-{number}")
        return number * number

    @stem.task("die-once", queue="q", executor="process", retry={"base": "200ms", "jitter": 0})
    def die_once(ctx: TaskContext) -> int:
        write("die")
        if ctx.attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return ctx.attempt

    @stem.task("die", queue="q", executor="process", max_retries=0)
    def die() -> None:
        os._exit(7)

    @stem.task("wait", queue="q", executor="process")
    def wait(name: str) -> str:
        write(f"begin-{name}")
        while not os.path.exists(name):
            time.sleep(0.01)
        return name

    @stem.task("stuck", queue="q", executor="process", max_retries=0, time_limit="2s")
    def stuck() -> None:
        write("stuck")
        sum(range(10**12))  # C code that holds the interpreter's lock: only a signal ends it

    @stem.task("sleepy", queue="q", executor="process", max_retries=0, time_limit="2s")
    def sleepy() -> None:
        write("sleepy")
        time.sleep(3600)

    @stem.task("hold", queue="q", executor="process")
    def hold() -> int:
        global held
        held = bytearray(os.urandom(1)) * 200_000_000
        return os.getpid()
"""

SHOP = {
    "shop": """
        from stem_amqp import Stem

        stem = Stem()
    """,
    "shop_plain": """
        def double(number: int) -> int:
            return 2 * number
    """,
    "shop_tasks": """
        import shop, shop_plain

        shop.stem.task("double", queue="q", executor="process")(shop_plain.double)

        @shop.stem.task("half", queue="q", executor="process")
        def half(number: int) -> int:
            return number // 2
    """,
    "shop_worker": """
        from shop import stem
        import shop_tasks
    """,
    "circle": """
        from stem_amqp import Stem

        stem = Stem()

        from circle_tasks import double
    """,
    "circle_tasks": """
        from circle import stem

        @stem.task("double", queue="q", executor="process")
        def double(number: int) -> int:
            return 2 * number

        @stem.task("half", queue="q", executor="process")
        def half(number: int) -> int:
            return number // 2
    """,
}
"""An application whose own module does not import its tasks, and one whose modules import each other."""


@pytest.fixture
async def stem(stem_broker_url, tmp_path):
    """Yield an application that enqueues for a worker with a process pool."""
    stem = Stem(
        broker_url=stem_broker_url,
        namespace=f"t-{uuid.uuid4().hex[:8]}",
        backend_url=f"sqlite:///{tmp_path}/results.db",
    )
    stem.reconfigure(default_queue="q")
    stem.task("any", queue="q")(lambda: None)
    async with stem:
        yield stem
        await stem.connected.transport.delete(stem.blueprint.entities)


@pytest.fixture
def start(stem, stem_broker_url, tmp_path, monkeypatch):
    """Yield a function that starts a worker, by default with two processes in its pool."""
    (tmp_path / "application.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
    monkeypatch.setenv("STEM_NAMESPACE", stem.settings.namespace)
    monkeypatch.setenv("STEM_BACKEND_URL", stem.settings.backend_url.get_secret_value())
    monkeypatch.setenv("STEM_POOL_PROCESSES", "2")
    workers = []

    def start(app="application:stem", **settings):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        command = ["-m", "stem_amqp", "worker", app, "-Q", "q"]
        with (tmp_path / "log").open("wb") as log:
            workers.append(start_python(*command, cwd=tmp_path, stderr=log))
        return workers[0]

    yield start
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, (tmp_path / "log").read_text()


@pytest.fixture
def book(tmp_path):
    """Return a function that returns the words that tasks wrote, with their process ids."""

    def book():
        path = tmp_path / "book"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(word, int(pid)) for word, pid in map(str.split, lines)]

    return book


async def reasons(stem):
    """Return the reasons of the dead letters."""
    async with stem.connected.transport.browse(stem.names.dlq("q")) as deliveries:
        return [delivery.headers[REASON] async for delivery in deliveries]


async def ended(stem, handle):
    """Wait until a task has ended, and return its record."""
    return await stem.connected.backend.wait(handle.id, 60)


def alive(pid):
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(300)
async def test_tasks_run_in_processes_that_are_kept(stem, start, book):
    """The tasks run in at most two processes, and none of them in the worker's."""
    worker = start()
    handles = [await stem.enqueue("square", args={"number": n}) for n in range(40)]
    assert [await handle.result(timeout=60) for handle in handles] == [n * n for n in range(40)]
    pids = {pid for _, pid in book()}
    assert 1 <= len(pids) <= 2
    assert worker.pid not in pids


@pytest.mark.timeout(300)
async def test_a_killed_process_costs_its_own_task_one_attempt(stem, start, book, tmp_path):
    """The task in the other process continues, and the pool replaces the killed process."""
    start()
    other = await stem.enqueue("wait", args={"name": "door"})
    await eventually(lambda: any(word == "begin-door" for word, _ in book()), timeout=60)
    victim = await stem.enqueue("die-once")
    assert await victim.result(timeout=60) == 1
    assert [word for word, _ in book()].count("die") == 2
    (tmp_path / "door").touch()
    assert await other.result(timeout=60) == "door"
    both = [await stem.enqueue("wait", args={"name": name}) for name in ("left", "right")]
    await eventually(lambda: {w for w, _ in book()} >= {"begin-left", "begin-right"}, timeout=60)
    (tmp_path / "left").touch()
    (tmp_path / "right").touch()
    assert [await handle.result(timeout=60) for handle in both] == ["left", "right"]


@pytest.mark.timeout(300)
async def test_a_task_that_keeps_killing_its_process_is_dead_lettered_as_crashed(stem, start):
    """The dead letter has the exit code; it is written when the retries are used up."""
    start()
    handle = await stem.enqueue("die")
    record = await ended(stem, handle)
    assert (record.state, record.reason) == ("failed", "crashed")
    assert "exit code 7" in record.error
    assert await reasons(stem) == ["crashed"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["stuck", "sleepy"])
async def test_a_hard_time_limit_really_stops_the_work(stem, start, book, name):
    """The process is ended whether the function waits or computes in C code."""
    start()
    handle = await stem.enqueue(name)
    record = await ended(stem, handle)
    assert record.state == "failed"
    assert "TimeLimitError" in record.error
    pid = next(pid for word, pid in book() if word == name)
    await eventually(lambda: not alive(pid), timeout=60)


@pytest.mark.timeout(300)
async def test_processes_are_renewed_after_so_many_tasks(stem, start, book):
    """Each process runs three tasks if that is the maximum."""
    start(STEM_POOL_PROCESSES="1", STEM_POOL_MAX_TASKS="3")
    for number in range(7):
        handle = await stem.enqueue("square", args={"number": number})
        await handle.result(timeout=60)
    pids = [pid for _, pid in book()]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.timeout(300)
async def test_a_process_that_holds_too_much_memory_is_renewed(stem, start):
    """The process finishes its task, and runs no other."""
    start(STEM_POOL_PROCESSES="1", STEM_POOL_MAX_MEMORY=str(190 * 2**20))
    first = await (await stem.enqueue("hold")).result(timeout=60)
    second = await (await stem.enqueue("hold")).result(timeout=60)
    assert first != second
    await eventually(lambda: not alive(first), timeout=60)


@pytest.mark.timeout(300)
async def test_processes_go_with_a_killed_worker(stem, stem_broker_url, start, book):
    """The pool's processes end when their worker is killed."""
    worker = start()
    await stem.enqueue("wait", args={"name": "never"})
    await eventually(lambda: any(word == "begin-never" for word, _ in book()), timeout=60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(60)
    worker.returncode = 0  # the fixture expects 0, and this worker was killed
    pid = book()[0][1]
    await eventually(lambda: not alive(pid), timeout=60)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("app", ["shop_worker:stem", "circle:stem"])
async def test_a_process_has_the_same_tasks_as_the_worker(stem, start, tmp_path, app):
    """It imports the module that the worker was started with, and those of the tasks."""
    for name, text in SHOP.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
    start(app)
    handles = [await stem.enqueue(name, args={"number": 8}) for name in ("double", "half")]
    assert [await handle.result(timeout=60) for handle in handles] == [16, 4]
