"""Test hours and months on the in-memory broker, with a clock that the test advances."""

import uuid

import pytest

from stem_amqp import Stem, TaskContext, TaskState
from stem_amqp.transport.memory import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def stem(clock):
    name = uuid.uuid4().hex
    return Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}", clock=clock)


async def test_a_retry_in_an_hour_runs_when_the_clock_reaches_it(stem, clock):
    """The retry does not run earlier, and the test does not wait."""
    attempts = []

    @stem.task("work", retry={"base": "1h", "max": "1h", "jitter": 0})
    async def work(ctx: TaskContext) -> str:
        attempts.append((ctx.attempt, clock.time()))
        if ctx.attempt == 0:
            raise ValueError("not yet")
        return "done"

    async with stem, stem.worker().running():
        handle = await work.enqueue()
        await clock.advance_until(lambda: len(attempts) == 1, within=0, patience=60)
        await clock.advance_until(lambda: len(attempts) == 2, within=4000, patience=60)
        assert await handle.result(timeout=60) == "done"
    assert 3600 <= attempts[1][1] - attempts[0][1] < 3601


async def test_a_delay_longer_than_the_digits_reenters_on_arrival(stem, clock):
    """A year's delay passes the delay queues four times, and the task runs once, at its time."""
    ran = []

    @stem.task("work")
    async def work() -> None:
        ran.append(clock.time())

    async with stem, stem.worker().running():
        enqueued = clock.time()
        handle = await work.options(delay="365d", result_ttl="800d").enqueue()
        await clock.advance_until(lambda: bool(ran), within=366 * 86400, patience=60)
        await handle.result(timeout=60)
    assert len(ran) == 1
    assert 365 * 86400 <= ran[0] - enqueued < 365 * 86400 + 2


async def test_a_task_expires_while_it_waits(stem, clock):
    """A task that expires in an hour does not run after two hours in a queue without a worker."""

    @stem.task("work", expires="1h")
    async def work() -> None:
        raise AssertionError("it must not run")

    async with stem:
        handle = await work.enqueue()
        clock.advance(7200)
        async with stem.worker().running():
            await clock.advance_until(
                lambda: stem.connected.transport.broker.messages(stem.names.dlq("default")),
                within=0,
                patience=60,
            )
        assert (await handle.status()).state is TaskState.EXPIRED


async def test_snoozes_of_a_day_spend_no_attempt(stem, clock):
    """A task may wait for a week, one day at a time."""
    attempts = []

    @stem.task("work", max_retries=0)
    async def work(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        if len(attempts) < 7:
            ctx.snooze("1d")

    async with stem, stem.worker().running():
        handle = await work.options(result_ttl="30d").enqueue()
        await clock.advance_until(lambda: len(attempts) == 7, within=8 * 86400, patience=60)
        await handle.result(timeout=60)
    assert attempts == [0] * 7
