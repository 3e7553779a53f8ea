"""The result backend down, slow and full: tasks wait for it, and none is lost."""

import asyncio

import pytest
from faults.harness.account import until
from faults.harness.proxy import proxy_to

pytestmark = pytest.mark.timeout(120)  # on nodes of their own, so not again for another broker


@pytest.fixture
def crew_with(make_crew, private_redis):
    """Make crews that keep their results in a Redis, behind a proxy."""
    with proxy_to(private_redis.port) as proxy:

        def make(fault):
            url = f"redis://127.0.0.1:{proxy.port}/0"
            crew = make_crew(fault, backend_url=url)
            crew.slow = lambda seconds: setattr(proxy, "delay", seconds)
            return crew

        yield make


def stored(crew, redis):
    """Return how many tasks have succeeded, as the Redis has it."""

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
    """While it is away nothing is acknowledged, since no outcome is durable."""
    crew = crew_with("Redis killed and started")
    crew.under_load()
    private_redis.stop()
    crew.ledger.progress("asked", 100)
    private_redis.start()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert stored(crew, private_redis) >= tally.acknowledged


def test_a_slow_backend_only_makes_slow(crew_with, private_redis, account):
    """A fifth of a second for each answer, and as much for each question."""
    crew = crew_with("Redis slow: 200 ms each way")
    crew.under_load()
    crew.slow(0.2)
    crew.ledger.recovered()
    crew.ledger.progress("finished", 100)
    crew.slow(0.0)
    tally = account(crew.finish())
    assert tally.repeated == 0
    assert stored(crew, private_redis) >= tally.acknowledged


def test_a_full_backend_holds_the_tasks_until_there_is_room(crew_with, private_redis, account):
    """It refuses to store; the worker neither drops a result nor acknowledges without it."""
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
    """Limit the memory of a Redis, in bytes; 0 is no limit."""

    async def limit():
        from redis.asyncio import Redis

        async with Redis.from_url(redis.url) as client:
            await client.config_set("maxmemory", most)

    asyncio.run(limit())
