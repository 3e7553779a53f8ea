"""Test that tasks wait for a result backend that is down, slow or full, and that none is lost."""

import asyncio

import pytest
from faults.harness.proxy import proxy_to
from support import until

pytestmark = pytest.mark.timeout(300)  # uses private nodes: not marked as rabbitmq


@pytest.fixture
def crew_with(make_crew, private_redis):
    """Yield a function that makes crews with results in a Redis behind a proxy."""
    with proxy_to(private_redis.port) as proxy:

        def make(fault):
            url = f"redis://127.0.0.1:{proxy.port}/0"
            crew = make_crew(fault, backend_url=url)
            crew.slow = lambda seconds: setattr(proxy, "delay", seconds)
            return crew

        yield make


def stored(crew, redis):
    """Return the number of tasks that have succeeded according to the Redis."""

    async def look():
        from redis.asyncio import Redis

        async with Redis.from_url(redis.url) as client:
            keys = [key async for key in client.scan_iter(f"{crew.namespace}:task:*", count=1000)]
            records = await client.mget(keys)
            return sum(b'"state":"succeeded"' in record for record in records)

    return asyncio.run(look())


def test_a_backend_that_goes_and_comes_back_loses_no_task_and_no_result(
    crew_with, private_redis, account
):
    """Nothing is acknowledged while the backend is unavailable, since no outcome is durable."""
    crew = crew_with("Redis killed and started")
    crew.under_load()
    private_redis.stop()
    crew.ledger.progress("asked", 100)
    private_redis.start()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert stored(crew, private_redis) >= tally.acknowledged


def test_a_slow_backend_only_makes_slow(crew_with, private_redis, account):
    """A delay of 200 ms in each direction neither loses nor repeats a task."""
    crew = crew_with("Redis slow: 200 ms each way")
    crew.under_load()
    crew.slow(0.2)
    crew.ledger.recovered()
    crew.ledger.progress("finished", 100)
    crew.slow(0.0)
    tally = account(crew.finish())
    assert tally.repeated == 0
    assert stored(crew, private_redis) >= tally.acknowledged


def test_a_full_backend_holds_the_tasks_until_it_has_room(crew_with, private_redis, account):
    """While the backend refuses to store, the worker neither drops results nor acknowledges."""
    crew = crew_with("Redis full")
    crew.under_load()
    configure(private_redis, "1")
    log = len(crew.log())
    until(lambda: "OOM" in crew.log()[log:] or "maxmemory" in crew.log()[log:], "a word about it")
    configure(private_redis, "0")
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert stored(crew, private_redis) >= tally.acknowledged


def configure(redis, most):
    """Limit the memory of a Redis, in bytes; 0 means no limit."""

    async def limit():
        from redis.asyncio import Redis

        async with Redis.from_url(redis.url) as client:
            await client.config_set("maxmemory", most)

    asyncio.run(limit())
