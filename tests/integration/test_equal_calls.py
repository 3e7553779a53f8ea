"""Debounced and throttled calls with real delays and several processes' connections, on every broker."""

import asyncio
import time

import pytest
from support import eventually

from stem_amqp import Debounce, Throttle
from stem_amqp.states import TaskState

CALLS = 16


@pytest.fixture
def shared(make_stem, tmp_path):
    """Return a function that makes applications with one result backend, as in several processes."""
    return lambda: make_stem(backend_url=f"sqlite:///{tmp_path / 'results.db'}")


async def test_the_last_of_many_calls_of_two_producers_runs_once(shared):
    """All others are revoked, whichever producer made them."""
    one, two = shared(), shared()
    runs = []
    rule = Debounce("2s", by=("user",))

    @one.task("shop.search", queue="work", debounce=rule)
    async def search(user: int, number: int) -> int:
        runs.append((user, number))
        return number

    def call(number):
        if number % 2:
            return search.enqueue(1, number)
        args = {"user": 1, "number": number}
        return two.enqueue("shop.search", args=args, queue="work", debounce=rule)

    async with one, two, one.worker(["work"]).running():
        begun = time.monotonic()
        handles = await asyncio.gather(*map(call, range(CALLS)))
        handles.append(await call(CALLS))
        in_time = time.monotonic() - begun < 2
        assert await handles[-1].result(timeout=60) == CALLS

        async def ended():
            states = [(await handle.status()).state for handle in handles]
            return states if all(state.final for state in states) else None

        states = await eventually(ended)
    assert runs[-1] == (1, CALLS)
    assert states.count(TaskState.SUCCEEDED) == len(runs)
    if in_time:  # on a machine that stalls for longer, the calls have several windows
        assert states == [TaskState.REVOKED] * CALLS + [TaskState.SUCCEEDED]


async def test_one_of_many_calls_of_two_producers_is_enqueued(shared):
    """All others get its handle, and its result."""
    one, two = shared(), shared()
    runs = []

    @one.task("shop.report", queue="work", throttle=Throttle("1/h", by=("user",)))
    async def report(user: int) -> int:
        runs.append(user)
        return user

    rule = Throttle("1/h", by=("user",))
    async with one, two:
        by_name = [
            two.enqueue("shop.report", args={"user": 1}, queue="work", throttle=rule)
            for _ in range(CALLS)
        ]
        handles = await asyncio.gather(*by_name, *(report.enqueue(1) for _ in range(CALLS)))
        assert len({handle.id for handle in handles}) == 1
        assert sum(not handle.existing for handle in handles) == 1
        async with one.worker(["work"]).running():
            found = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
    assert set(found) == {1}
    assert runs == [1]
