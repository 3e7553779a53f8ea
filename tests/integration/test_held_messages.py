"""Messages that wait because of a pause or a breaker: signatures, expiry, revocation, and restarts of workers."""

import asyncio
import time
import uuid

import pytest
from support import eventually

from stem_amqp import Settings, TaskFailedError, TaskState
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.publication import Publication

KEY = "k1:" + "A" * 43 + "="


async def ready(stem, name):
    """Return the number of ready messages in a queue; 0 if there is no such queue."""
    found = (await stem.connected.transport.status([name]))[name]
    return 0 if found is None else found.ready


async def has(stem, name, number):
    return await ready(stem, name) == number


async def test_what_expires_or_is_revoked_while_it_waits_does_not_run(stem):
    """Each ends as it should when it comes back; the others run."""
    ran = []

    @stem.task("charge", queue="orders")
    async def charge(number: int) -> int:
        ran.append(number)
        return number

    async with stem, stem.worker().running():
        await stem.control.pause(task="charge", timeout="60s")
        kept, revoked = [await charge.enqueue(number) for number in (1, 2)]
        held = stem.names.held("orders", "charge")
        await eventually(lambda: has(stem, held, 2))
        expired = await charge.options(expires=1.0).enqueue(3)
        end = time.time() + 1.0
        await stem.revoke(revoked.id, reason="no need")
        await eventually(lambda: time.time() > end)
        await stem.control.resume(task="charge", timeout="60s")
        assert await kept.result(timeout=60) == 1
        for handle, state in ((revoked, TaskState.REVOKED), (expired, TaskState.EXPIRED)):
            with pytest.raises(TaskFailedError) as failed:
                await handle.result(timeout=60)
            assert failed.value.state == state
        await eventually(lambda: has(stem, held, 0))
    assert ran == [1]


async def test_signed_messages_that_waited_run_and_a_forged_one_beside_them_does_not(make_stem):
    """A worker that starts later verifies what another one has moved."""
    stem = make_stem(
        settings=Settings.load(signing_key=KEY), backend_url=f"memory://{uuid.uuid4().hex}"
    )
    ran = []

    @stem.task("charge", queue="orders")
    async def charge(number: int) -> int:
        ran.append(number)
        return number

    async with stem:
        held = stem.names.held("orders", "charge")
        async with stem.worker().running():
            await stem.control.pause(task="charge", timeout="60s")
            handles = [await charge.enqueue(number) for number in range(3)]
            await eventually(lambda: has(stem, held, 3))
        body = b'{"v":1,"id":"forged","task":"charge","args":{"number":99}}'
        forged = Publication(exchange=stem.names.paused, routing_key=held, body=body, type="charge")
        await stem.connected.transport.publish(forged)
        async with stem.worker().running() as worker:
            await stem.control.resume(task="charge", timeout="60s")
            assert [await handle.result(timeout=60) for handle in handles] == [0, 1, 2]
            await eventually(lambda: has(stem, held, 0))
            await eventually(lambda: worker.statistics().signature_invalid == 1)
    assert sorted(ran) == [0, 1, 2]


async def test_an_open_breaker_outlives_the_worker_that_opened_it(make_stem):
    """A worker that starts later obeys it, and loses nothing."""
    topology = "version: 1\nqueues: {orders: {breaker: {failures: 2, of: 2, pause: 1h}}}\n"
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}", topology=parse_topology(topology))
    up, asked = asyncio.Event(), []

    @stem.task("charge", queue="orders", max_retries=50, retry={"base": "10ms", "max": "10ms"})
    async def charge(number: int) -> int:
        asked.append(number)
        if not up.is_set():
            raise ConnectionError("the downstream is down")
        return number

    async with stem:
        async with stem.worker(concurrency=1).running() as first:
            handles = [await charge.enqueue(number) for number in range(4)]
            await eventually(lambda: first.statistics().paused == ("orders",))
            await eventually(lambda: first.statistics().running == 0)
        before = len(asked)
        async with stem.worker(concurrency=1).running() as second:
            await eventually(lambda: second.statistics().paused == ("orders",))
            handles.append(await charge.enqueue(4))
            assert len(asked) == before
            up.set()
            await stem.control.resume(queue="orders", timeout="60s")
            results = [await handle.result(timeout=60) for handle in handles]
    assert results == list(range(5))
    assert len(asked) == before + 5
