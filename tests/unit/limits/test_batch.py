"""Asks of the same time take one round trip."""

import asyncio
from collections.abc import Sequence

import pytest

from stem_amqp.durations import Rate
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.limits import batch
from stem_amqp.limits.base import LEASE_TTL, Ask, Verdict, Wanted
from stem_amqp.limits.batch import LimitBatcher
from stem_amqp.limits.memory import MemoryLimits, MemoryShelf
from stem_amqp.transport.memory import ManualClock

WANTED = Wanted(key="ten", rate=Rate(count=10, period=1.0))


class Counted(MemoryLimits):
    """A store that counts its round trips, and may hold them or fail."""

    def __init__(self) -> None:
        super().__init__(MemoryShelf(), ManualClock())
        self.batches: list[list[str]] = []
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.asked = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        self.batches.append([ask.token for ask in asks])
        self.asked.set()
        await self.open_gate.wait()
        if self.error is not None:
            raise self.error
        return await super().ask(asks, lease_ttl=lease_ttl)


def ask(token: str) -> Ask:
    return Ask(token=token, wants=(WANTED,))


async def asked(batcher: LimitBatcher, *tokens: str) -> list[Verdict]:
    return await asyncio.gather(*(batcher.ask(ask(token)) for token in tokens))


async def test_asks_of_one_turn_are_one_round_trip():
    """Each caller gets the verdict of its own token, in the order of the asks."""
    store = Counted()
    batcher = LimitBatcher(store)
    verdicts = await asked(batcher, "a", "b", "c")
    assert store.batches == [["a", "b", "c"]]
    assert [verdict.wait for verdict in verdicts] == pytest.approx([0, 0.1, 0.2])
    await batcher.close()


async def test_asks_during_a_round_trip_are_the_next_one():
    """There is one round trip at a time, however many ask meanwhile."""
    store = Counted()
    store.open_gate.clear()
    batcher = LimitBatcher(store)
    tasks = [asyncio.create_task(batcher.ask(ask("first")))]
    await store.asked.wait()
    tasks += [asyncio.create_task(batcher.ask(ask(str(number)))) for number in range(10)]
    await asyncio.sleep(0)
    store.open_gate.set()
    await asyncio.gather(*tasks)
    assert store.batches == [["first"], [str(number) for number in range(10)]]
    await batcher.close()


async def test_a_batch_has_a_limit(monkeypatch):
    """More asks take several round trips."""
    monkeypatch.setattr(batch, "BATCH_LIMIT", 4)
    store = Counted()
    batcher = LimitBatcher(store)
    await asked(batcher, *map(str, range(10)))
    assert [len(tokens) for tokens in store.batches] == [4, 4, 2]
    await batcher.close()


async def test_the_same_token_is_asked_for_once():
    """Two deliveries of one message get the same verdict."""
    store = Counted()
    batcher = LimitBatcher(store)
    first, second = await asked(batcher, "a", "a")
    assert first is second
    assert store.batches == [["a"]]
    await batcher.close()


async def test_a_failure_reaches_every_caller_and_the_next_ask_is_a_new_one():
    """The store is asked again as soon as somebody asks."""
    store = Counted()
    store.error = BackendUnavailableError("away")
    batcher = LimitBatcher(store)
    errors = await asyncio.gather(
        batcher.ask(ask("a")), batcher.ask(ask("b")), return_exceptions=True
    )
    assert errors == [store.error] * 2
    store.error = None
    assert (await batcher.ask(ask("a"))).wait == 0
    await batcher.close()


async def test_a_caller_that_is_cancelled_takes_nobody_with_it():
    """The others get their verdicts."""
    store = Counted()
    store.open_gate.clear()
    batcher = LimitBatcher(store)
    cancelled = asyncio.create_task(batcher.ask(ask("a")))
    other = asyncio.create_task(batcher.ask(ask("b")))
    await store.asked.wait()
    cancelled.cancel()
    store.open_gate.set()
    assert (await other).wait == pytest.approx(0.1)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await batcher.close()


async def test_closing_cancels_the_asks_that_wait():
    """Nobody waits for a store that is not asked any more."""
    store = Counted()
    store.open_gate.clear()
    batcher = LimitBatcher(store)
    tasks = [asyncio.create_task(batcher.ask(ask("a")))]
    await store.asked.wait()
    tasks.append(asyncio.create_task(batcher.ask(ask("b"))))
    await asyncio.sleep(0)
    await batcher.close()
    assert all(
        isinstance(result, asyncio.CancelledError)
        for result in await asyncio.gather(*tasks, return_exceptions=True)
    )
