"""Measure what a limit check costs: checks per second of one process on a store.

python tests/benchmarks/limits_cost.py redis://localhost:6379/0 [SECONDS]

URL is a result backend that keeps limits. All cases run in turns in one process, three times; the best turn of
each counts. On Redis, libraries for rate limits are measured too if they are installed: throttled-py and limits.
"""

import asyncio
import contextlib
import itertools
import sys
import time
import uuid

from stem_amqp.clock import SystemClock
from stem_amqp.durations import Rate
from stem_amqp.limits.base import LEASE_TTL, Ask, Wanted
from stem_amqp.limits.batch import LimitBatcher
from stem_amqp.results.factory import create
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.worker.gates.limits.leases import Leases

URL = sys.argv[1] if len(sys.argv) > 1 else "redis://localhost:6379/0"
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
ASKERS = 200
LIBRARY_ASKERS = 50
"""A pool of the libraries has 100 connections, and raises an error for one more."""
TURNS = 3
FAST = Rate(count=1_000_000, period=1.0)
TOKENS = itertools.count()
RUN = uuid.uuid4().hex[:8]


async def checks_per_second(check, askers):
    """Return how often some askers complete a check, one after the other each, in a second."""
    begin, done = time.perf_counter(), 0

    async def asker(number):
        nonlocal done
        while time.perf_counter() - begin < SECONDS:
            await check(number)
            done += 1

    await asyncio.gather(*map(asker, range(askers)))
    return done / (time.perf_counter() - begin)


def ask(*wants):
    """Return an ask with a new token."""
    return Ask(token=f"{uuid.UUID(int=next(TOKENS))}/0", wants=wants)


def own_cases(store, batcher, leases):
    """Return the cases of a store: the check, and how many ask at a time."""
    rate, keys = (
        Wanted(key="rate", rate=FAST),
        [Wanted(key=f"tenant:{number}", rate=FAST) for number in range(ASKERS)],
    )
    places = Wanted(key="places", concurrency=10_000)

    async def batched(_):
        await batcher.ask(ask(rate))

    async def by_key(number):
        await batcher.ask(ask(keys[number], rate))

    async def leased(_):
        verdict = await batcher.ask(ask(places))
        leases.release(verdict.lease)

    async def alone(_):
        await store.ask([ask(rate)])

    return {
        "a rate, batched": (batched, ASKERS),
        "a rate by key and one for all, batched": (by_key, ASKERS),
        "a lease and its release, batched": (leased, ASKERS),
        "a rate, one by one, many at a time": (alone, ASKERS),
        "a rate, one by one, one at a time": (alone, 1),
    }


async def library_cases():
    """Return the cases of the installed libraries."""
    cases = {}
    with contextlib.suppress(ImportError):
        from throttled.asyncio import RedisStore, Throttled, rate_limiter

        limiter = Throttled(
            using="gcra",
            quota=rate_limiter.per_sec(1_000_000, burst=1_000_000),
            store=RedisStore(server=URL),
        )

        async def throttled(_):
            await limiter.limit(f"stem-{RUN}")

        cases["throttled-py, GCRA"] = (throttled, LIBRARY_ASKERS)
    with contextlib.suppress(ImportError):
        from limits import RateLimitItemPerSecond
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import SlidingWindowCounterRateLimiter

        window = SlidingWindowCounterRateLimiter(
            RedisStorage(f"async+{URL}", implementation="redispy")
        )
        item = RateLimitItemPerSecond(1_000_000)

        async def limited(_):
            await window.hit(item, f"stem-{RUN}")

        cases["limits, sliding window counter"] = (limited, LIBRARY_ASKERS)
    return cases


async def main():
    """Measure every case, and print a table."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    names = Names(f"limits-cost-{RUN}")
    backend = create(URL, clock=SystemClock(), transport=transport, names=names, ttl=60)
    await backend.open()
    store = backend.limits()
    await store.open()
    batcher = LimitBatcher(store)
    leases = Leases(store, ttl=LEASE_TTL)
    cases = own_cases(store, batcher, leases)
    if URL.startswith("redis"):
        cases |= await library_cases()
    best = dict.fromkeys(cases, 0.0)
    for _ in range(TURNS):
        for name, (check, askers) in cases.items():
            best[name] = max(best[name], await checks_per_second(check, askers))
    await leases.close()
    await batcher.close()
    await store.close()
    await backend.close()
    await transport.close()
    width = max(map(len, best))
    print(f"{URL.partition('://')[0]}, checks per second of one process, best of {TURNS} turns")
    for name, figure in best.items():
        print(f"  {name:{width}}  {figure:10,.0f}")


asyncio.run(main())
