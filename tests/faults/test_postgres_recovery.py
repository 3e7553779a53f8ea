"""Test rule 9 for results in PostgreSQL: a server that stops, restarts, hangs or refuses."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
import uuid

import asyncpg
import pytest
from support import eventually

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results.base import Transition
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.postgres.backend import PostgresBackend
from stem_amqp.states import TaskState


@pytest.fixture
def server(own_postgres):
    """Yield a server, and restart it after the test."""
    yield own_postgres
    own_postgres.stop()
    own_postgres.start()


@pytest.fixture
async def opened(server):
    """Yield a function that opens backends on the server, and close them afterwards."""
    backends = []
    namespace = f"t-{uuid.uuid4().hex[:8]}"

    async def open_one(url=server.url):
        backend = PostgresBackend(parse_address(url), namespace, SystemClock())
        backends.append(backend)
        await backend.open()
        return backend

    yield open_one
    for backend in backends:
        await backend.close()


def change(task_id, state=TaskState.SUCCEEDED):
    """Return a transition of a task."""
    return Transition(
        task_id=task_id, task="shop.sync", queue="orders", state=state, at=time.time(), result=b"1"
    )


async def listening(backend, task_id):
    """Start to wait for a task, and return the asyncio task once the backend listens."""
    waiting = asyncio.create_task(backend.wait(task_id, 30))
    await eventually(lambda: backend._watch._connection is not None and backend._watch._marks)
    return waiting


async def stored(backend, task_id):
    """Store a transition like the result writer: retry until it succeeds."""

    async def tried():
        with contextlib.suppress(BackendUnavailableError):
            await backend.transition([change(task_id)])
            return True

    await eventually(tried, "the store's return")


async def test_everything_continues_after_a_restart(server, opened):
    """A result after the server's restart wakes a waiter from before; no client is restarted."""
    producer, worker = await opened(), await opened()
    await worker.transition([change("before")])
    waiting = await listening(producer, "t1")
    server.stop()
    server.start()
    await stored(worker, "t1")
    assert (await waiting).result == b"1"
    assert (await producer.get("before")).state is TaskState.SUCCEEDED


async def test_a_result_of_the_time_without_a_connection_is_not_missed(server, opened):
    """A waiter finds a result that was stored while the listening connection was lost."""
    producer, worker = await opened(), await opened()
    waiting = await listening(producer, "t1")
    producer._watch._connection.terminate()
    await worker.transition([change("t1")])
    assert (await waiting).state is TaskState.SUCCEEDED


async def test_terminated_connections_are_replaced(server, opened):
    """Calls and waiters work after an administrator has terminated every connection."""
    backend = await opened()
    await asyncio.gather(*(backend.get("x") for _ in range(10)))
    waiting = await listening(backend, "t1")
    admin = await asyncpg.connect(server.url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'stem-amqp%'"
    )
    assert await asyncio.gather(*(backend.get("x") for _ in range(10))) == [None] * 10
    await stored(backend, "t1")
    assert (await waiting).state is TaskState.SUCCEEDED
    await admin.close()


async def test_a_server_that_is_down_is_said_to_be_down_and_used_again(server, opened):
    """Every call fails at once with the remedy; after the server's start calls work again."""
    backend = await opened()
    await backend.ping()
    server.stop()
    began = time.monotonic()
    for call in (
        lambda: backend.transition([change("t1")]),
        lambda: backend.get("t1"),
        lambda: backend.wait("t1", 5),
        lambda: backend.claim_group("g1", "t1"),
        backend.ping,
    ):
        with pytest.raises(BackendUnavailableError) as caught:
            await call()
        assert "***@127.0.0.1" in str(caught.value)
        assert str(caught.value).count("\n") == 1, "the problem, and the remedy"
    assert time.monotonic() - began < 19
    server.start()
    assert await backend.transition([change("t1")]) == [True]
    assert (await backend.wait("t1", 5)).state is TaskState.SUCCEEDED


def family(pid):
    """Return the ids of the server's process and of its connections' processes."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], check=True, capture_output=True, text=True
    ).stdout
    return [pid, *map(int, children.split())]


async def test_a_frozen_server_is_given_up_in_bounded_time(server, opened, monkeypatch):
    """Calls end in bounded time if the server accepts connections and does not answer."""
    backend = await opened(f"{server.url}?pool_size=1")
    waiting = await listening(backend, "t1")
    # Only now: a server that runs may need longer on a slow machine
    monkeypatch.setattr("stem_amqp.results.postgres.pool.JOB_TIMEOUT", 0.5)
    monkeypatch.setattr("stem_amqp.results.postgres.pool.CONNECT_TIMEOUT", 0.5)
    frozen = family(server.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        for _ in range(2):  # first on the open connection, then on a new one
            with pytest.raises(BackendUnavailableError, match="does not answer in time"):
                await backend.get("t1")
        assert time.monotonic() - began < 19
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    await stored(backend, "t1")
    assert (await waiting).state is TaskState.SUCCEEDED


async def test_a_listening_connection_that_died_silently_is_found_out(server, opened, monkeypatch):
    """The listening connection is checked periodically, since a dead peer does not close it."""
    monkeypatch.setattr("stem_amqp.results.postgres.watch._SWEEP", 0.2)
    backend, worker = await opened(), await opened()
    waiting = await listening(backend, "t1")
    deaf = backend._watch._connection
    await deaf.remove_listener(backend._watch._channel, backend._watch._heard)
    await worker.transition([change("t1")])
    assert (await waiting).state is TaskState.SUCCEEDED
    waiting = await listening(backend, "t2")
    (pid,) = [await deaf.fetchval("SELECT pg_backend_pid()")]
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr("stem_amqp.results.postgres.watch.CONNECT_TIMEOUT", 0.3)
        await eventually(lambda: backend._watch._connection is not deaf, "a new connection")
        await worker.transition([change("t2")])
        assert (await waiting).state is TaskState.SUCCEEDED
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        (":{password}@", ":wrong-word@", ConfigurationError, "Correct user and password"),
        ("//postgres:", "//nobody:", ConfigurationError, "Correct user and password"),
        ("/postgres?", "/no-such?", ConfigurationError, "createdb"),
        (":{port}/", ":1/", BackendUnavailableError, "Is the server running"),
    ],
)
async def test_a_wrong_url_is_one_clear_error(server, opened, old, new, kind, words):
    """Each mistake in the URL has its own message, which does not contain the password."""
    password = server.url.split(":")[2].partition("@")[0]
    old = old.format(password=password, port=server.port)
    with pytest.raises(kind, match=words) as caught:
        await opened(f"{server.url}?".replace(old, new).rstrip("?"))
    assert type(caught.value) is kind
    assert password not in str(caught.value)
    assert "wrong-word" not in str(caught.value)
    assert len(str(caught.value).splitlines()) < 10
