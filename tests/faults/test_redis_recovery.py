"""Test Redis stopped, restarted, frozen or disconnected: errors in bounded time, then recovery."""

import asyncio
import os
import re
import signal
import time
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ResultTimeoutError
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.redis import client as redis_client
from stem_amqp.results.redis import listener as redis_listener
from stem_amqp.results.redis import watch as redis_watch
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.redis.backend import RedisBackend
from stem_amqp.states import TaskState

NAMESPACE = "recovery"


@pytest.fixture
async def open_backend(private_redis):
    """Yield a function that opens backends on a private Redis, and close them afterwards."""
    backends = []

    async def open_one():
        address = RedisAddress.parse(private_redis.url)
        backend = RedisBackend(address, NAMESPACE, SystemClock())
        await backend.open()
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        await backend.close()


def succeeded(task_id):
    """Return the transition of a task to its end."""
    return Transition(
        task_id=task_id,
        task="shop.sync",
        queue="orders",
        state=TaskState.SUCCEEDED,
        result=b"1",
        at=time.time(),
    )


async def waiting(backend, task_id, timeout=30.0):
    """Start to wait for a task, and return the asyncio task once it has subscribed and looked."""
    get, looked = backend.get, asyncio.Event()

    async def noted(task_id):
        record = await get(task_id)
        looked.set()
        return record

    backend.get = noted
    task = asyncio.create_task(backend.wait(task_id, timeout))

    async def is_subscribed():
        channels = await backend._client.call("PUBSUB", "CHANNELS", f"{NAMESPACE}:ended:{task_id}")
        return bool(channels)

    await eventually(is_subscribed, "the subscription")
    await looked.wait()
    backend.get = get
    return task


async def recovers(backend):
    """Wait until a backend works again."""

    async def answers():
        try:
            await backend.ping()
        except BackendUnavailableError:
            return False
        return True

    await eventually(answers, "the backend's recovery")


async def kill(private_redis, kind):
    """Kill every connection of a kind, as an operator does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", private_redis.port)
    writer.write(f"CLIENT KILL TYPE {kind}\r\n".encode())
    await writer.drain()
    assert int((await reader.readline())[1:]) > 0
    writer.close()
    await writer.wait_closed()


async def test_killed_connections_cost_no_call(open_backend, private_redis):
    """A connection that was killed while idle is replaced without an error."""
    backend = await open_backend()
    for _ in range(5):
        await asyncio.gather(*(backend.get(f"t{n}") for n in range(20)))
        await kill(private_redis, "normal")
        assert await backend.transition([succeeded(task_id := new_id())]) == [True]
        assert (await backend.get(task_id)).state is TaskState.SUCCEEDED


async def test_a_waiter_survives_the_loss_of_its_connection(open_backend, private_redis):
    """The waiter is subscribed again on a new connection, and woken over it."""
    producer, worker = await open_backend(), await open_backend()
    for _ in range(3):
        task_id = new_id()
        waiter = await waiting(producer, task_id)
        listener = producer._watch._listener
        await kill(private_redis, "pubsub")
        await eventually(
            lambda old=listener: producer._watch._listener not in {None, old}, "a new connection"
        )
        await worker.transition([succeeded(task_id)])
        assert (await waiter).result == b"1"


async def test_an_end_without_a_connection_is_not_missed(open_backend, private_redis):
    """After a reconnect the backend looks up all awaited tasks: an end is published only once."""
    producer, worker = await open_backend(), await open_backend()
    tasks = [new_id() for _ in range(300)]
    waiters = [await waiting(producer, task_id) for task_id in tasks]
    storing = asyncio.create_task(worker.transition([succeeded(task_id) for task_id in tasks]))
    await kill(private_redis, "pubsub")
    await storing
    assert [record.result for record in await asyncio.gather(*waiters)] == [b"1"] * 300


async def test_a_restart_of_the_server_recovers(open_backend, private_redis):
    """Calls fail at once while the server is down; then results exist and waiters still wait."""
    producer, worker = await open_backend(), await open_backend()
    stored, later = new_id(), new_id()
    await worker.transition([succeeded(stored)])
    waiter = await waiting(producer, later)
    private_redis.stop()
    begun = time.monotonic()
    for call in (worker.ping(), worker.transition([succeeded(later)]), producer.wait(stored, 10)):
        with pytest.raises(BackendUnavailableError, match=r"(?s)nothing listens.*Start Redis"):
            await call
    assert time.monotonic() - begun < 9
    private_redis.start()
    await recovers(worker)
    assert (await worker.get(stored)).result == b"1"
    assert not waiter.done()
    await worker.transition([succeeded(later)])
    assert (await waiter).result == b"1"
    assert (await producer.wait(stored, 10)).result == b"1"


async def test_scripts_that_a_restart_forgot_are_sent_again(open_backend, private_redis):
    """The backend sends a script again that Redis, which keeps scripts in memory, has lost."""
    backend = await open_backend()
    await backend.transition([succeeded(new_id())])
    await backend._client.call("SCRIPT", "FLUSH")
    assert await backend.transition([succeeded(new_id())]) == [True]


async def test_a_frozen_server_fails_within_the_time_limit_and_recovers(
    open_backend, private_redis, monkeypatch
):
    """Calls and new waiters fail in time if the server accepts connections and does not answer."""
    backend = await open_backend()
    task_id = new_id()
    waiter = await waiting(backend, task_id)
    listener = backend._watch._listener
    info = (await backend._client.call("INFO", "server")).decode()
    pid = int(re.search(r"process_id:(\d+)", info)[1])
    # Only while it is frozen: a server that runs may need longer on a slow machine
    monkeypatch.setattr(redis_client, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(redis_client, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(redis_watch, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(redis_listener, "HEARTBEAT", 0.2)
    monkeypatch.setattr(redis_listener, "SILENCE", 0.5)
    os.kill(pid, signal.SIGSTOP)
    try:
        for call in (backend.get("x"), backend.transition([succeeded(task_id)]), backend.ping()):
            begun = time.monotonic()
            with pytest.raises(BackendUnavailableError, match="does not answer in time"):
                await call
            assert time.monotonic() - begun < 9
        await eventually(lambda: backend._watch._listener is not listener, "the silence's notice")
        with pytest.raises(BackendUnavailableError):
            await backend.wait("x", 5)
    finally:
        os.kill(pid, signal.SIGCONT)
        monkeypatch.undo()
    await recovers(backend)
    await backend.transition([succeeded(task_id)])
    assert (await waiter).result == b"1"


async def test_a_wait_on_a_server_that_stays_unavailable_fails(
    open_backend, private_redis, monkeypatch
):
    """A waiter without a timeout ends with an error if the server stays unavailable."""
    monkeypatch.setattr(redis_watch, "GIVE_UP", 0.5)
    backend = await open_backend()
    waiter = await waiting(backend, new_id(), timeout=None)
    private_redis.stop()
    with pytest.raises(BackendUnavailableError, match="nothing listens"):
        await asyncio.wait_for(waiter, 60)
    private_redis.start()
    await recovers(backend)
    with pytest.raises(ResultTimeoutError):
        await backend.wait(new_id(), 0.01)


async def test_a_timeout_while_the_server_is_unavailable_says_so(open_backend, private_redis):
    """The error is not a result timeout, since it is unknown whether the task has ended."""
    backend = await open_backend()
    waiter = await waiting(backend, new_id(), timeout=3.0)
    private_redis.stop()
    with pytest.raises(BackendUnavailableError):
        await waiter


async def test_rule_9_a_worker_loses_no_result_over_a_restart_of_redis(private_redis):
    """Every task succeeds although Redis is stopped and started twice during the work."""
    name = uuid.uuid4().hex
    stem = Stem(broker_url=f"memory://{name}", backend_url=private_redis.url, namespace=NAMESPACE)
    runs = 0

    @stem.task("work", queue="q")
    async def work(number: int) -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.002)
        return number

    async with stem, stem.worker(concurrency=10).running():
        handles = await stem.enqueue_many(work.prepare(number) for number in range(500))
        for target in (50, 200):
            await eventually(lambda least=target: runs >= least, "half of the work")
            private_redis.stop()
            await asyncio.to_thread(private_redis.start)
        assert [await handle.result(timeout=60) for handle in handles] == list(range(500))
