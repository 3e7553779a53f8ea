"""A store of limits that stops, and may lose what it has kept: errors, then the limits hold again."""

import asyncio
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.clock import SystemClock
from stem_amqp.durations import Rate
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.limits.base import Ask, Wanted
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.postgres.backend import PostgresBackend
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.redis.backend import RedisBackend

PLACES = Wanted(key="places", concurrency=2)
RATE = Wanted(key="rate", rate=Rate(count=1, period=3600.0))


@pytest.fixture(params=["private_redis", "own_postgres"])
def server(request):
    """Return a Redis, which saves its data when it stops, or a PostgreSQL that crashes and forgets limits."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def store(server):
    """Yield a store of limits on the server."""
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    if server.url.startswith("redis"):
        backend = RedisBackend(RedisAddress.parse(server.url), namespace, SystemClock())
    else:
        backend = PostgresBackend(parse_address(server.url), namespace, SystemClock())
    await backend.open()
    store = backend.limits()
    await store.open()
    yield store
    await store.close()
    await backend.close()


def asks(*wants, tokens):
    """Return an ask for each token."""
    return [Ask(token=token, wants=wants) for token in tokens]


async def test_a_store_that_was_restarted_counts_the_tasks_that_run(server, store):
    """Leases are there again with their renewal, so that the limit holds for the tasks that run."""
    verdicts = await store.ask(asks(PLACES, tokens="ab"), lease_ttl=600)
    leases = [verdict.lease for verdict in verdicts]
    started, waits = await store.ask(asks(RATE, tokens="cd"))
    assert (started.wait, waits.wait > 3000) == (0, True)

    server.stop()
    for call in (
        store.ask(asks(PLACES, tokens="e")),
        store.renew(leases),
        store.release(leases),
        store.peek(["places"]),
        store.find(),
    ):
        with pytest.raises(BackendUnavailableError):
            await call
    server.start()

    async def renewed():
        try:
            return await store.renew(leases, ttl=600)
        except BackendUnavailableError:
            return None

    keeps = server.url.startswith("redis")
    assert await eventually(renewed, "the store answers") == [keeps, keeps]
    assert await store.renew(leases, ttl=600) == [True, True]
    (verdict,) = await store.ask(asks(PLACES, tokens="f"))
    assert verdict.lease is None
    (verdict,) = await store.ask(asks(RATE, tokens="g"))
    assert (verdict.wait > 3000) == keeps


async def test_a_restart_under_load_loses_no_limited_task(server, caplog):
    """Tasks wait meanwhile; at most those that ran before run beyond the limit, while they end."""
    stem = Stem(
        broker_url=f"memory://{uuid.uuid4().hex}",
        backend_url=server.url,
        namespace=f"t-{uuid.uuid4().hex[:8]}",
    )
    limit, ran, now, most = 2, [], set(), 0
    stopped = asyncio.Event()

    @stem.task("work", queue="q", concurrency_limit=limit)
    async def work(number: int) -> int:
        nonlocal most
        ran.append(number)
        now.add(number)
        most = max(most, len(now))
        await asyncio.sleep(0.02)
        if len(ran) >= 6:
            await stopped.wait()  # so that tasks are left
        now.discard(number)
        return number

    async with stem, stem.worker(concurrency=10).running(), stem.worker(concurrency=10).running():
        handles = [await work.enqueue(number) for number in range(30)]
        await eventually(lambda: len(ran) >= 6, "the first runs")
        assert most <= limit
        await asyncio.to_thread(server.stop)
        await eventually(
            lambda: "ask again" in caplog.text or "not known yet" in caplog.text, "a word about it"
        )
        stopped.set()
        assert len(ran) < len(handles)
        await asyncio.to_thread(server.start)
        assert [await handle.result(timeout=60) for handle in handles] == list(range(30))
    assert sorted(ran) == list(range(30))
    assert most <= 2 * limit
