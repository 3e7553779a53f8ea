"""Limits in our own stores: the same rules in each of them, the server's clock, and several processes."""

import asyncio
import json
import random
import sys
import time
import uuid
from itertools import pairwise

import pytest

from stem_amqp.durations import Rate
from stem_amqp.limits.base import Ask, Wanted
from stem_amqp.limits.memory import MemoryLimits, MemoryShelf
from stem_amqp.results.factory import create
from stem_amqp.topology.names import Names

LIMITS = (
    Wanted(key="fast", rate=Rate(count=50, period=1.0)),
    Wanted(key="bursts", rate=Rate(count=10, period=1.0), burst=4),
    Wanted(key="slow", rate=Rate(count=1, period=1.0)),
    Wanted(key="hourly", rate=Rate(count=2, period=3600.0)),
    Wanted(key="one", concurrency=1),
    Wanted(key="three", concurrency=3),
    Wanted(key="both", rate=Rate(count=5, period=1.0), concurrency=2),
)


class Story:
    """A random sequence of calls, as workers make them, for a store and for the model in memory.

    Args:
        store: the store under test.
        clock: the clock of both.
        seed: of the random numbers.
    """

    def __init__(self, store, clock, seed):
        self._stores = (store, MemoryLimits(MemoryShelf(), clock))
        self._clock = clock
        self._random = random.Random(seed)
        self._waiting = {}
        self._leases = {}
        self._number = 0

    async def step(self):
        """Make one call in both stores, compare the answers, and let some time pass."""
        kind = self._random.choice(["ask", "ask", "ask", "release", "renew", "peek"])
        await getattr(self, f"_{kind}")()
        self._clock.advance(self._random.choice([0, 0.01, 0.1, 0.5, 2, 7]))

    async def _ask(self):
        asks = [self._new() for _ in range(self._random.randrange(1, 8))]
        back = [token for token, (due, _) in self._waiting.items() if due <= self._clock.time()]
        asks += [self._waiting[token][1] for token in back]
        self._random.shuffle(asks)
        answers = [await store.ask(asks, lease_ttl=20) for store in self._stores]
        for ask, own, model in zip(asks, *answers, strict=True):
            assert (own.reserved, own.key, own.lease is None) == (
                model.reserved,
                model.key,
                model.lease is None,
            ), ask
            assert (own.wait, own.at) == pytest.approx((model.wait, model.at), abs=1e-3), ask
            assert (own.wait == 0) == (model.wait == 0)
            self._waiting.pop(ask.token, None)
            if model.lease is not None:
                self._leases[ask.token] = (own.lease, model.lease)
            elif model.wait > 0:
                again = Ask(
                    token=ask.token,
                    wants=ask.wants,
                    waited=True,
                    duration_hint=ask.duration_hint,
                )
                # Above the difference of the stores, so that both see the time as passed
                due = self._clock.time() + model.wait + 0.002 + self._random.choice([0, 0.3, 12])
                self._waiting[ask.token] = (due, again)

    def _new(self):
        self._number += 1
        wants = tuple(self._random.sample(LIMITS, self._random.choice([1, 1, 1, 2, 3])))
        hint = self._random.choice([None, 0.1, 5.0])
        return Ask(token=f"token-{self._number}", wants=wants, duration_hint=hint)

    async def _release(self):
        await self._with_leases("release")

    async def _renew(self):
        await self._with_leases("renew")

    async def _with_leases(self, call):
        tokens = self._random.sample(sorted(self._leases), min(3, len(self._leases)))
        pairs = [self._leases[token] for token in tokens]
        answers = [
            await getattr(store, call)([pair[number] for pair in pairs])
            for number, store in enumerate(self._stores)
        ]
        assert answers[0] == answers[1]
        if call == "release":
            for token in tokens:
                del self._leases[token]

    async def _peek(self):
        keys = [wanted.key for wanted in LIMITS]
        for own, model in zip(*[await store.peek(keys) for store in self._stores], strict=True):
            assert (own.key, own.running) == (model.key, model.running)
            assert abs(own.waiting - model.waiting) <= 1
            assert own.backlog == pytest.approx(model.backlog, abs=1e-3)
            assert own.mean_duration == pytest.approx(model.mean_duration, abs=1e-3)


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"], indirect=True)
@pytest.mark.parametrize("seed", range(3))
async def test_every_store_decides_as_the_one_in_memory(limits, seed):
    """Whatever workers do: the rules are written three times, and mean the same."""
    story = Story(limits.first, limits.clock, seed)
    for _ in range(100):
        await story.step()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "postgresql"], indirect=True)
async def test_two_namespaces_in_one_store_have_limits_of_their_own(
    limits, sides, store_url, brokers
):
    """One environment does not slow another one down."""
    wanted = Wanted(key="one", concurrency=1)
    assert (await limits.one("a", wanted)).wait == 0
    other = create(
        store_url,
        clock=sides.clock,
        transport=await brokers.transport(),
        names=Names(f"t-{uuid.uuid4().hex[:8]}"),
        ttl=60,
    )
    await other.open()
    store = other.limits(sides.clock)
    await store.open()
    try:
        (verdict,) = await store.ask([Ask(token="a", wants=(wanted,))])
        assert verdict.lease is not None
        await store.release([verdict.lease])
        assert [usage.running for usage in await store.find()] == [0]
        assert [usage.running for usage in await limits.first.peek(["one"])] == [1]
    finally:
        await store.close()
        await other.close()


@pytest.mark.parametrize("kind", ["redis", "postgresql"], indirect=True)
async def test_the_time_is_that_of_the_server(sides):
    """A worker whose clock is a day ahead decides nothing by it."""
    sides.clock.advance(86400)
    store = sides.worker.limits()
    await store.open()
    wanted = Wanted(key="hourly", rate=Rate(count=1, period=3600.0))
    asks = [Ask(token=token, wants=(wanted,)) for token in ("a", "b")]
    first, second = await store.ask(asks)
    assert first.at == pytest.approx(time.time(), abs=600)
    assert second.wait == pytest.approx(3600, abs=1e-3)
    await store.close()


ASKER = """
import asyncio, json, sys
from stem_amqp.clock import SystemClock
from stem_amqp.durations import Rate
from stem_amqp.limits.base import Ask, Wanted
from stem_amqp.results.factory import create
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport

async def main(url, namespace, name):
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    backend = create(url, clock=SystemClock(), transport=transport, names=Names(namespace), ttl=60)
    await backend.open()
    store = backend.limits()
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    rate, places = Wanted(key="rate", rate=Rate(count=1000, period=1.0)), Wanted(key="places", concurrency=7)
    starts, leases = [], 0
    for turn in range(25):
        tokens = [f"{name}-{turn}-{number}" for number in range(20)]
        verdicts = await store.ask([Ask(token=token, wants=(rate,)) for token in tokens])
        starts += [verdict.at for verdict in verdicts]
        verdicts = await store.ask([Ask(token=token, wants=(places,)) for token in tokens], lease_ttl=600)
        leases += sum(verdict.lease is not None for verdict in verdicts)
    print(json.dumps([starts, leases]), flush=True)
    await store.close()
    await backend.close()
    await transport.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"], indirect=True)
async def test_processes_that_ask_at_the_same_time_never_exceed_a_limit(store_url, sides):
    """Two processes get 1,000 different starts 1 ms apart, and seven leases together."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ASKER,
            store_url,
            sides.namespace,
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    for process in processes:
        assert await process.stdout.readline() == b"ready\n"
    answers = [
        json.loads(answer)
        for answer, _ in await asyncio.gather(
            *(process.communicate(b"go\n") for process in processes)
        )
    ]
    starts = sorted(start for own, _ in answers for start in own)
    assert len(starts) == 1000
    assert min(after - before for before, after in pairwise(starts)) > 0.0009
    assert sum(leases for _, leases in answers) == 7
