"""The result backend in a SQLite file: durability, waiting across processes, errors."""

import asyncio
import sqlite3
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from support import eventually, report_ends, until

import stem_amqp
from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ResultTimeoutError
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.sqlite import schema as sqlite_schema
from stem_amqp.results.sqlite import thread as sqlite_thread
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.states import TaskState
from stem_amqp.transport.memory import ManualClock

SUCCEEDED = TaskState.SUCCEEDED


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / "results.db"


@pytest.fixture
async def opened(path):
    """Open backends on one file, and close them afterwards."""
    backends = []

    async def open_one(clock=None):
        backend = SqliteBackend(path, clock or SystemClock())
        await backend.open()
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        await backend.close()


def change(task_id, state=SUCCEEDED, **values):
    """Return a change of a task."""
    defaults = {"task": "shop.sync", "queue": "orders", "at": time.time()}
    if state is SUCCEEDED:
        defaults["result"] = b"1"
    return Transition(task_id=task_id, state=state, **(defaults | values))


async def test_results_survive_a_restart(path, opened):
    """Records and groups are complete after the file was closed and opened again."""
    first = await opened()
    progress = Progress(fraction=0.5, message="half ☃", data=[1], at=2.0)
    queued = change("t1", TaskState.QUEUED, meta={"tenant": "ä"}, worker="w1")
    await first.transition([queued])
    await first.report_progress([ProgressUpdate(task_id="t1", progress=progress)])
    await first.transition([change("t1", result=b'{"a":1}', meta={"tenant": "ä"})])
    await first.create_group("g1", 1, ttl=60)
    await report_ends(first, "g1", 0)
    await first.claim_group("g1", "t1")
    record, group = await first.get("t1"), await first.get_group("g1")
    await first.close()
    second = await opened()
    assert await second.get("t1") == record
    assert (record.result, record.progress, record.meta) == (b'{"a":1}', progress, {"tenant": "ä"})
    assert await second.get_group("g1") == group
    assert (group.done, group.complete, group.claimed_by) == (1, True, "t1")


async def test_a_closed_backend_can_be_opened_again(opened):
    """A second open does nothing, and a closed backend can be opened."""
    backend = await opened()
    await backend.open()
    await backend.transition([change("t1")])
    await backend.close()
    await backend.open()
    assert (await backend.wait("t1", 5)).state is SUCCEEDED


async def test_every_commit_is_on_the_disk_before_it_is_reported(opened):
    """The write-ahead log is synced with each transaction: results survive a power failure."""
    backend = await opened()
    pragmas = await backend._thread.read(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        ]
    )
    assert pragmas == ["wal", 2]


CHILD = """
import asyncio, os, signal, sys, time
from pathlib import Path
from stem_amqp.clock import SystemClock
from stem_amqp.results.base import Transition
from stem_amqp.results.sqlite import schema as sqlite_schema
from stem_amqp.results.sqlite import thread as sqlite_thread
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.states import TaskState

def change(task_id, result):
    return Transition(task_id=task_id, task="shop.sync", queue="orders",
                      state=TaskState.SUCCEEDED, at=time.time(), result=result)

async def main():
    backend = SqliteBackend(Path(sys.argv[1]), SystemClock())
    await backend.open()
{body}

asyncio.run(main())
"""


async def child(path, body):
    """Run code with a backend on the file in another process, and return its output."""
    code = CHILD.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        str(path),
        cwd=Path(stem_amqp.__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().split()


async def test_two_processes_wake_each_other(path, opened):
    """A change that another process stores wakes a waiter, in both directions."""
    backend = await opened()
    waiting = asyncio.create_task(backend.wait("from-child", 30))
    body = """
        await backend.transition([change("from-child", b"1")])
        record = await backend.wait("from-parent", 30)
        print(record.state, record.result.decode())
        await backend.close()
    """
    running = asyncio.create_task(child(path, body))
    assert (await waiting).result == b"1"
    await backend.transition([change("from-parent", result=b"2")])
    assert await running == (0, ["succeeded", "2"])


async def test_a_killed_process_loses_nothing_that_was_reported_as_stored(path, opened):
    """A result is in the file once `transition` has returned."""
    body = """
        await backend.transition([change(str(n), b"%d" % n) for n in range(100)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    status, _ = await child(path, body)
    assert status == -9
    backend = await opened()
    results = [(await backend.get(str(number))).result for number in range(100)]
    assert results == [b"%d" % number for number in range(100)]


async def test_many_writers_on_one_file_take_turns(opened):
    """Four instances that write at once wait for each other, and lose nothing."""
    backends = [await opened() for _ in range(4)]
    tasks = [new_id() for _ in range(200)]

    async def write(number, backend):
        for task_id in tasks[number::4]:
            assert await backend.transition([change(task_id, TaskState.RUNNING)]) == [True]
            assert await backend.transition([change(task_id)]) == [True]

    await asyncio.gather(*(write(number, backend) for number, backend in enumerate(backends)))
    assert [(await backends[0].get(task_id)).state for task_id in tasks] == [SUCCEEDED] * 200


async def test_processes_that_open_a_new_file_at_once_all_get_it(path):
    """The schema is created once, for any number of processes."""
    backends = [SqliteBackend(path, SystemClock()) for _ in range(8)]
    await asyncio.gather(*(backend.open() for backend in backends))
    await asyncio.gather(*(backend.ping() for backend in backends))
    await asyncio.gather(*(backend.close() for backend in backends))


async def test_a_locked_file_is_unavailable_until_it_is_free(path, opened, monkeypatch):
    """The error names another program's open transaction; afterwards the backend works."""
    monkeypatch.setattr("stem_amqp.results.sqlite.schema.BUSY_TIMEOUT", 0.05)
    backend = await opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendUnavailableError, match=r"(?s)results\.db.*locked.*find it"):
        await backend.transition([change("t1")])
    assert await backend.get("t1") is None
    other.execute("ROLLBACK")
    other.close()
    assert await backend.transition([change("t1")]) == [True]


@pytest.mark.parametrize(
    ("pragma", "words"),
    [
        ("max_page_count = 1", "full.*Free some space"),
        ("query_only = 1", "readonly.*Let this user"),
    ],
)
async def test_a_disk_that_takes_nothing_is_named_with_its_remedy(opened, pragma, words):
    """A full disk and a missing permission are outages of the store, not mistakes of the task."""
    backend = await opened()
    await backend._thread.read(lambda connection: connection.execute(f"PRAGMA {pragma}").fetchone())
    with pytest.raises(BackendUnavailableError, match=f"(?s){words}"):
        await backend.transition([change(new_id(), result=b"x" * 10_000) for _ in range(50)])
    assert await backend.get("t1") is None


async def test_a_batch_is_stored_whole_or_not_at_all(opened):
    """A change that cannot be written rolls its batch back, and the next batch is stored."""
    backend = await opened()
    with pytest.raises(TypeError):
        await backend.transition([change("t1"), change("t2", meta={"a": object()})])
    assert await backend.get("t1") is None
    assert await backend.transition([change("t1")]) == [True]


async def test_expired_records_are_removed_while_others_are_written(path, opened, monkeypatch):
    """A store without purges does not grow without limit; many records are removed in steps."""
    monkeypatch.setattr("stem_amqp.results.sqlite.backend._PURGE_LIMIT", 20)
    clock = ManualClock()
    backend = await opened(clock)
    await backend.transition([change(str(number), ttl=10) for number in range(50)])
    await backend.create_group("g1", 0, ttl=10, sealed=False)
    await backend.expand_group("g1", 1, addition="a")
    await report_ends(backend, "g1", 0)
    await backend.claim_key("k1", "t1", ttl=10)
    clock.advance(3600)
    left = []
    for number in range(4):
        await backend.transition([change(f"new-{number}")])
        left.append(await backend._thread.read(rows))
    assert left == [(31, 0, 0, 0, 0), (12, 0, 0, 0, 0), (3, 0, 0, 0, 0), (4, 0, 0, 0, 0)]


async def test_purging_by_hand_removes_everything_that_has_expired(opened, monkeypatch):
    """More records than fit in one transaction are removed in several."""
    monkeypatch.setattr("stem_amqp.results.sqlite.backend._PURGE_LIMIT", 20)
    clock = ManualClock()
    backend = await opened(clock)
    await backend.transition([change(str(number), ttl=10) for number in range(50)])
    clock.advance(11)
    assert await backend.purge_expired() == 50
    assert await backend._thread.read(rows) == (0, 0, 0, 0, 0)


def rows(connection):
    """Return the number of rows in each table."""
    tables = (
        "stem_tasks",
        "stem_groups",
        "stem_group_members",
        "stem_group_expansions",
        "stem_keys",
    )
    counts = (connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables)
    return tuple(count for (count,) in counts)


async def test_the_file_is_polled_only_while_there_are_waiters(opened):
    """An idle backend does nothing; the polling for a waiter ends with it."""
    backend = await opened()
    assert backend._watch._task is None
    with pytest.raises(ResultTimeoutError):
        await backend.wait("t1", 0.02)
    watching = backend._watch._task
    await asyncio.wait_for(asyncio.wait({watching}), 60)
    await backend.transition([change("t1")])
    assert (await backend.wait("t1")).state is SUCCEEDED
    assert backend._watch._task is watching


async def test_waiters_fail_when_the_file_fails(opened, monkeypatch):
    """No waiter waits for ever on a file that cannot be read."""
    backend = await opened()
    waiting = asyncio.create_task(backend.wait("t1", 30))
    await asyncio.sleep(0.05)

    async def failing(job):
        raise BackendUnavailableError("disk gone")

    monkeypatch.setattr(backend._thread, "read", failing)
    with pytest.raises(BackendUnavailableError, match="disk gone"):
        await waiting


async def test_the_thread_ends_with_the_backend(path):
    """Closing leaves no thread; earlier jobs are finished."""
    backend = SqliteBackend(path, SystemClock())
    await backend.open()
    changes = [change(new_id()) for _ in range(500)]
    stored, _ = await asyncio.gather(backend.transition(changes), backend.close())
    assert stored == [True] * 500
    deadline = time.monotonic() + 60
    while any("stem-amqp-sqlite" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_cancelled_opening_leaves_nothing_open(path, monkeypatch):
    """A cancelled open leaves no connection; another backend can open the file."""
    cancelled = threading.Event()

    def connect(path):
        cancelled.wait(60)
        return sqlite_schema.connect(path)

    monkeypatch.setattr(sqlite_thread, "connect", connect)
    backend = SqliteBackend(path, SystemClock())
    opening = asyncio.create_task(backend.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    cancelled.set()
    assert opening.cancelled()
    await backend.open()
    await backend.ping()
    await backend.close()


def is_closed(connection):
    try:
        connection.total_changes  # noqa: B018 - raises if it is closed
    except sqlite3.ProgrammingError:
        return True
    return False


def test_an_opening_that_outlives_its_event_loop_leaves_nothing_open(path, monkeypatch):
    """Nobody else would close the connection."""
    go, connections = threading.Event(), []

    def connect(path):
        go.wait(60)
        connections.append(sqlite_schema.connect(path))
        return connections[-1]

    monkeypatch.setattr(sqlite_thread, "connect", connect)

    async def cancel():
        opening = asyncio.create_task(SqliteBackend(path, SystemClock()).open())
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})

    asyncio.run(cancel())
    go.set()
    until(lambda: connections and is_closed(connections[0]), "the connection is closed")


async def test_a_cancelled_close_closes_the_file(path):
    """It waits for earlier jobs, and goes on after them."""
    go, found = threading.Event(), []
    thread = sqlite_thread.SqliteThread(path)
    await thread.open()

    def job(connection):
        found.append(connection)
        go.wait(60)

    running = asyncio.create_task(thread.read(job))
    await eventually(lambda: found)
    closing = asyncio.create_task(thread.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    go.set()
    await running
    await eventually(lambda: is_closed(found[0]), "the connection is closed")
