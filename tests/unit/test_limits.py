"""Soft time limits of coroutines, and threads that can be interrupted."""

import asyncio
import threading
import time

import pytest
from support import eventually

from stem_amqp.errors import SoftTimeLimitError, TimeLimitError
from stem_amqp.worker.running.limits import with_soft_limit
from stem_amqp.worker.running.threads import ThreadPool


@pytest.fixture
def pool():
    pool = ThreadPool(2)
    yield pool
    pool.close()


async def test_a_coroutine_that_is_fast_enough_returns():
    """The limit leaves no timer and no cancellation behind."""

    async def quick():
        await asyncio.sleep(0)
        return 7

    assert await with_soft_limit(quick(), 10) == 7
    assert asyncio.current_task().cancelling() == 0


async def test_the_soft_limit_is_raised_where_the_coroutine_waits_and_can_be_cleaned_up():
    """The task sees SoftTimeLimitError itself, cleans up, and may return a value."""

    async def slow():
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitError:
            await asyncio.sleep(0)
            return "cleaned up"

    assert await with_soft_limit(slow(), 0.01) == "cleaned up"
    assert asyncio.current_task().cancelling() == 0


async def test_the_soft_limit_goes_through_a_timeout_of_the_tasks_own():
    """asyncio.timeout inside the task does not take the soft limit for its own timeout."""

    async def slow():
        async with asyncio.timeout(60):
            await asyncio.Event().wait()

    with pytest.raises(SoftTimeLimitError):
        await with_soft_limit(slow(), 0.01)


async def test_a_cancellation_of_another_kind_stays_a_cancellation():
    """A shutdown is not reported as a time limit."""
    entered = asyncio.Event()

    async def slow():
        entered.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(with_soft_limit(slow(), 60))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_hard_limit_still_comes_after_an_ignored_soft_one():
    """The hard limit cancels a task that swallows the soft limit."""

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitError:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await with_soft_limit(stubborn(), 0.01)


async def test_a_thread_returns_what_the_function_returns(pool):
    """The thread sees the caller's context variables."""
    assert await pool.run(lambda: threading.current_thread().name) != threading.main_thread().name


async def test_the_soft_limit_is_raised_in_the_thread(pool):
    """A synchronous task can clean up too."""

    def slow():
        try:
            for _ in range(2000):
                time.sleep(0.005)
        except SoftTimeLimitError:
            return "cleaned up"
        return "never reached"

    assert await pool.run(slow, soft_limit=0.02) == "cleaned up"


async def test_a_cancelled_run_is_interrupted_and_counted_until_its_thread_is_back(pool):
    """The run does not wait for the thread, but the thread is counted until it ends."""
    seen = threading.Event()
    begun = threading.Event()

    def slow():
        begun.set()
        try:
            for _ in range(2000):
                time.sleep(0.005)
        except TimeLimitError:
            seen.set()
            raise

    task = asyncio.create_task(pool.run(slow))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(seen.wait, 5)
    await eventually(lambda: not pool.abandoned, "the thread is back", timeout=60)
