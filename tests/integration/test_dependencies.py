"""Test dependencies in a worker: opened for each run or shared, and closed on every outcome."""

import asyncio
import contextlib
import os
import sqlite3
import sys
import textwrap
import threading
import time
import uuid

import pytest
from support import eventually

from stem_amqp import Depends, Shared, Stem, TaskContext, TaskFailedError

FAST = {"base": "100ms", "jitter": 0, "max": "200ms"}


@pytest.fixture
def journal():
    return []


@pytest.fixture
def memory():
    """Return an application on an in-memory broker."""
    name = uuid.uuid4().hex
    return Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}", namespace="t")


@pytest.fixture
async def elsewhere(stem_broker_url):
    """Yield the application that another process runs, and delete its queue afterwards."""
    app = Stem(
        broker_url=stem_broker_url,
        backend_url="memory://",
        namespace=f"t-{uuid.uuid4().hex[:8]}",
    )
    app.task("work", queue="q")(lambda: None)
    yield app
    app.reconfigure(provision="none")
    async with app:
        await app.connected.transport.delete(app.blueprint.entities)


def opener(journal, name, *, fails=0):
    """Return an async dependency that records its use, and whose first openings may fail."""
    left = [fails]

    async def open_it():
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError(f"{name} is away")
        journal.append(f"+{name}")
        try:
            yield name
        except BaseException as error:
            journal.append(f"!{name} {type(error).__name__}")
            raise
        finally:
            journal.append(f"-{name}")

    return open_it


async def test_a_worker_opens_what_is_shared_once_and_closes_it_at_its_end(stem, journal):
    """Two concurrent tasks share one opening, and each has its own session."""
    opening = asyncio.Event()

    async def pool():
        journal.append("+pool")
        await opening.wait()
        yield "pool"
        journal.append("-pool")

    async def session(pool: str = Shared(pool)):
        yield object()
        journal.append("-session")

    seen = []

    @stem.task("work", queue="q")
    async def work(ctx: TaskContext, number: int, *, session=Depends(session), pool=Shared(pool)):
        seen.append(session)
        return f"{pool} {number} {ctx.attempt}"

    async with stem:
        async with stem.worker(concurrency=4).running():
            handles = [await work.enqueue(number) for number in range(3)]
            await eventually(lambda: journal == ["+pool"], "the opening")
            opening.set()
            results = [await handle.result(timeout=60) for handle in handles]
            assert results == ["pool 0 0", "pool 1 0", "pool 2 0"]
            assert len(set(map(id, seen))) == 3
            assert journal == ["+pool", *["-session"] * 3]
        assert journal[-1] == "-pool"


async def test_a_plain_task_has_its_plain_dependencies_in_its_thread(stem, journal):
    """Asynchronous ones live in the event loop, and get the exception of the task."""
    loop_thread = threading.get_ident()
    client = opener(journal, "client")

    def connect():
        # which can be used only in its own thread
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            yield database
            database.execute("select 1")
        journal.append("-database")

    async def shared():
        yield threading.get_ident()

    @stem.task("work", queue="q", retry=FAST)
    def work(ctx: TaskContext, *, db=Depends(connect), client=Depends(client), pool=Shared(shared)):
        assert threading.get_ident() != loop_thread == pool
        if ctx.attempt == 0:
            raise ValueError("once")
        return [db.execute("select 5").fetchone()[0], client]

    async with stem, stem.worker().running():
        assert await (await work.enqueue()).result(timeout=60) == [5, "client"]
    assert journal == [
        "+client",
        "!client ValueError",
        "-client",
        "+client",
        "-client",
        "-database",
    ]


@pytest.mark.parametrize("kind", ["retry", "snooze", "reject"])
async def test_dependencies_are_closed_before_the_outcome_is_settled(memory, journal, kind):
    """A session gets the outcome of the run, and can roll back."""

    @memory.task("work", queue="q", retry=FAST)
    async def work(ctx: TaskContext, session=Depends(opener(journal, "s"))):
        if len(journal) < 3:
            ending = getattr(ctx, kind)
            ending("100ms") if kind == "snooze" else ending(reason="no")
        return "done"

    @memory.signals.task_retried.connect()
    @memory.signals.task_snoozed.connect()
    @memory.signals.task_dead_lettered.connect()
    async def settled(event):
        journal.append(event.signal)

    async with memory, memory.worker().running():
        handle = await work.enqueue()
        if kind == "reject":
            with pytest.raises(TaskFailedError):
                await handle.result(timeout=60)
        else:
            assert await handle.result(timeout=60) == "done"
    assert journal[:3] == ["+s", f"!s {kind.capitalize()}", "-s"]
    signal = {"retry": "task-retried", "snooze": "task-snoozed", "reject": "task-dead-lettered"}
    assert journal[3] == signal[kind]


async def test_an_opening_that_fails_is_an_error_of_the_task(memory, journal):
    """The retry policy applies to shared dependencies too: the next run opens them again."""
    away = opener(journal, "own", fails=1)
    away_too = opener(journal, "pool", fails=1)

    @memory.task("work", queue="q", retry=FAST, max_retries=3)
    async def work(ctx: TaskContext, own=Depends(away), pool=Shared(away_too)):
        return ctx.attempt

    errors = []
    memory.signals.task_retried.connect()(lambda event: errors.append(event.fields["error"]))
    async with memory, memory.worker().running():
        # Both fail in the first run; the second opens both
        assert await (await work.enqueue()).result(timeout=60) == 1
    assert errors == ["ConnectionError: own is away"]
    assert journal == ["+own", "+pool", "-own", "-pool"]


async def test_a_closing_that_fails_is_an_error_of_the_task(memory):
    """The work may not be durable: a commit may have failed."""

    async def commits():
        yield
        raise ConnectionError("the commit failed")

    @memory.task("work", queue="q", max_retries=0)
    async def work(session=Depends(commits)):
        return "done"

    async with memory, memory.worker().running():
        with pytest.raises(TaskFailedError, match=r"retries-exhausted.*the commit failed"):
            await (await work.enqueue()).result(timeout=60)


async def test_the_time_limit_covers_opening_and_work_and_the_dependencies_are_closed(
    memory, journal, monkeypatch
):
    """A dependency that does not close delays the task little; the error is the time limit."""
    monkeypatch.setattr("stem_amqp.worker.running.resources.CLOSE_LIMIT", 0.1)

    async def hangs():
        try:
            yield
        finally:
            await asyncio.sleep(60)

    async def never_opens():
        await asyncio.sleep(60)

    @memory.task("slow", queue="q", max_retries=0, time_limit=0.2)
    async def slow(a=Depends(opener(journal, "a")), b=Depends(hangs)):
        await asyncio.sleep(60)

    @memory.task("opens", queue="q", max_retries=0, time_limit=0.2)
    async def opens(a=Depends(opener(journal, "b")), b=Depends(never_opens)):
        raise AssertionError

    async with memory, memory.worker().running():
        for task in (slow, opens):
            with pytest.raises(TaskFailedError, match="longer than its time limit"):
                await (await task.enqueue()).result(timeout=60)
    assert journal == ["+a", "!a CancelledError", "-a", "+b", "!b CancelledError", "-b"]


async def test_a_plain_task_beyond_its_time_limit_closes_when_its_thread_comes_back(
    memory, journal
):
    """The task ends before its thread, and the dependency is closed later."""
    begun = threading.Event()

    @memory.task("slow", queue="q", max_retries=0, time_limit=0.1)
    def slow(a=Depends(opener(journal, "a"))):
        begun.set()
        while True:
            time.sleep(0.01)

    async with memory, memory.worker().running():
        # a thread that begins after the time limit does not call the function
        while not begun.is_set():
            journal.clear()
            with pytest.raises(TaskFailedError, match="longer than its time limit"):
                await (await slow.enqueue()).result(timeout=60)
            await eventually(lambda: not journal or journal[-1] == "-a", "the closing")
    assert journal == ["+a", "!a TimeLimitError", "-a"]


async def test_a_task_that_is_cancelled_does_not_take_the_shared_opening_along(memory, journal):
    """Another task waits for the same opening."""
    opening = asyncio.Event()

    async def pool():
        journal.append("+pool")
        await opening.wait()
        yield "pool"

    @memory.task("hurried", queue="q", max_retries=0, time_limit=0.1)
    async def hurried(pool=Shared(pool)):
        raise AssertionError

    @memory.task("patient", queue="q")
    async def patient(pool=Shared(pool)):
        return pool

    async with memory, memory.worker().running():
        waits = await patient.enqueue()
        with pytest.raises(TaskFailedError, match="longer than its time limit"):
            await (await hurried.enqueue()).result(timeout=60)
        opening.set()
        assert await waits.result(timeout=60) == "pool"
    assert journal == ["+pool"]


async def test_what_is_shared_closes_in_reverse_and_one_that_fails_stops_no_other(
    memory, journal, monkeypatch, caplog
):
    """The worker stops nevertheless, and logs the errors."""
    monkeypatch.setattr("stem_amqp.worker.running.resources.CLOSE_LIMIT", 0.1)

    async def fails():
        yield
        journal.append("fails")
        raise OSError("cannot close")

    async def hangs(below=Shared(fails)):
        yield
        journal.append("hangs")
        await asyncio.sleep(60)

    @memory.task("work", queue="q")
    async def work(first=Shared(opener(journal, "first")), last=Shared(hangs)): ...

    async with memory, memory.worker().running():
        await (await work.enqueue()).result(timeout=60)
    assert journal == ["+first", "hangs", "fails", "-first"]
    assert "hangs did not close within" in caplog.text
    assert "fails could not be closed" in caplog.text


async def test_a_replacement_counts_in_a_running_worker(memory, journal):
    """The replacement applies to tasks that start within the block."""
    original = opener(journal, "real")

    @memory.task("work", queue="q")
    async def work(pool=Shared(original)):
        return pool

    async with memory, memory.worker().running():
        with memory.override(original, lambda: "fake"):
            assert await (await work.enqueue()).result(timeout=60) == "fake"
        assert await (await work.enqueue()).result(timeout=60) == "real"


async def test_a_plain_call_inside_of_a_task_shares_what_the_worker_has(memory, journal):
    """This holds for async and for plain functions."""
    pool = opener(journal, "pool")

    @memory.task("inner", queue="q")
    async def inner(pool=Shared(pool)):
        return pool

    @memory.task("inner.plain", queue="q")
    def inner_plain(pool=Shared(pool)):
        return pool

    @memory.task("outer", queue="q")
    async def outer(pool=Shared(pool)):
        return [pool, await inner()]

    @memory.task("outer.plain", queue="q")
    def outer_plain():
        return inner_plain()

    async with memory, memory.worker().running():
        assert await (await outer.enqueue()).result(timeout=60) == ["pool", "pool"]
        assert await (await outer_plain.enqueue()).result(timeout=60) == "pool"
    assert journal == ["+pool", "-pool"]


APPLICATION = """
    import asyncio, os
    from stem_amqp import Depends, Shared, Stem

    stem = Stem(backend_url="rpc://")

    async def pool():
        print("open", os.getpid() != int(os.environ["WORKER"]), flush=True)
        yield "pool"
        print("closed", flush=True)

    async def session(pool: str = Shared(pool)):
        yield f"session of {pool}"

    @stem.task("work", queue="q", executor="process")
    def work(number: int, session: str = Depends(session)) -> str:
        return f"{session} {number}"

    async def main():
        os.environ["WORKER"] = str(os.getpid())
        async with stem, stem.worker().running():
            handles = [await work.enqueue(number) for number in range(2)]
            print(*[await handle.result(timeout=60) for handle in handles], sep=", ")

    if __name__ == "__main__":
        asyncio.run(main())
"""


async def test_each_process_of_the_pool_has_what_it_shares(tmp_path, stem_broker_url, elsewhere):
    """The dependency is opened in the child process, and closed when the process ends."""
    file = tmp_path / "app.py"
    file.write_text(textwrap.dedent(APPLICATION))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(file),
        env=os.environ
        | {
            "STEM_BROKER_URL": stem_broker_url,
            "STEM_NAMESPACE": elsewhere.settings.namespace,
            "STEM_POOL_PROCESSES": "1",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines() == [
        "open True",
        "session of pool 0, session of pool 1",
        "closed",
    ]
