"""The testing kit: running due tasks, moving the clock, and reading the outcomes of tasks."""

import asyncio
import threading
import time

import pytest
from kit_shop import ORDER, Shop

from stem_amqp import Reason, StemError, TaskContext, TaskFailedError, TaskState


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def stem_app(shop):
    return shop.stem


async def test_due_tasks_run_with_what_they_enqueue(shop, stem_memory):
    """They run in this event loop until no task is due."""
    handle = await shop.checkout(5)
    outcomes = await stem_memory.run_due()
    assert shop.done == [("pay", 5, 0), ("mail", "receipt")]
    assert sorted((one.task, one.state) for one in outcomes) == [
        ("shop.mail", TaskState.SUCCEEDED),
        ("shop.pay", TaskState.SUCCEEDED),
    ]
    (paid,) = stem_memory.outcomes(shop.pay)
    assert (paid.id, paid.result, paid.attempt, paid.error) == (handle.id, 5, 0, None)
    assert await handle.result() == 5
    assert await stem_memory.run_due() == []


async def test_what_is_delayed_waits_for_the_clock(shop, stem_memory):
    """Each task runs at its own time, including the tasks that delayed tasks enqueue."""
    seen = []

    @stem_memory.app.task("poll")
    async def poll(n: int) -> None:
        seen.append((n, stem_memory.clock.time() - begun))
        await poll.options(delay="1h").enqueue(n + 1)

    begun = stem_memory.clock.time()
    await poll.options(delay="30m").enqueue(1)
    assert await stem_memory.run_due() == []
    assert await stem_memory.advance("29m") == []
    assert len(await stem_memory.advance("3h")) == 3
    assert [(n, round(at)) for n, at in seen] == [(1, 1800), (2, 5400), (3, 9000)]
    assert stem_memory.clock.time() - begun == pytest.approx(29 * 60 + 3 * 3600)


async def test_failures_go_the_way_they_go_in_production(shop, stem_memory):
    """They are retried after their wait, and then dead-lettered."""
    handle = await shop.checkout(-1)
    (first,) = await stem_memory.run_due()
    assert (first.state, first.delay, first.attempt) == (TaskState.RETRYING, 3600, 0)
    assert str(first.exception) == "a negative amount"
    assert stem_memory.dead_letters() == []
    second, third = await stem_memory.advance("2h")
    assert (second.attempt, third.attempt) == (1, 2)
    assert (third.state, third.reason) == (TaskState.FAILED, Reason.RETRIES_EXHAUSTED)
    (letter,) = stem_memory.dead_letters()
    assert (letter.id, letter.reason) == (handle.id, "retries-exhausted")
    assert stem_memory.dead_letters("mails") == []
    with pytest.raises(TaskFailedError):
        await handle.result()


async def test_what_a_task_raised_can_be_raised(shop, stem_memory):
    """When all is done, it is the original exception; for a task that never ran, the reason."""
    await shop.checkout(-1)
    await shop.checkout(3)
    with pytest.raises(ValueError, match="a negative amount") as caught:
        await stem_memory.run_due(raise_errors=True)
    assert caught.traceback[-1].name == "_pay"
    assert ("mail", "receipt") in shop.done
    stem_memory.clear()
    await shop.stem.enqueue("elsewhere.sync")
    with pytest.raises(TaskFailedError, match=r"no task 'elsewhere\.sync'"):
        await stem_memory.run_due(raise_errors=True)


async def test_snoozes_expiries_and_windows_follow_the_clock(shop, stem_memory):
    """A snooze, an expiry or a wait for a window is not a failure."""
    runs = []

    @stem_memory.app.task("wait")
    async def wait(ctx: TaskContext) -> None:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            ctx.snooze("5m", reason="too early")

    await wait.enqueue()
    (snoozed,) = await stem_memory.run_due(raise_errors=True)
    assert (snoozed.state, snoozed.delay, snoozed.reason) == ("snoozed", 300, "too early")
    assert len(await stem_memory.advance("5m")) == 1
    await shop.ship.enqueue(1)
    await stem_memory.advance("25h", working=False)
    (expired,) = await stem_memory.run_due()
    assert (expired.state, expired.reason) == (TaskState.EXPIRED, Reason.EXPIRED)
    assert shop.done == []


async def test_tasks_may_take_real_time(stem_memory):
    """The kit waits for sockets, files and threads."""
    ended = []

    @stem_memory.app.task("slow")
    async def slow() -> None:
        await asyncio.sleep(0.05)
        await asyncio.to_thread(time.sleep, 0.02)
        ended.append(1)

    @stem_memory.app.task("slow.thread")
    def slow_thread() -> None:
        time.sleep(0.05)
        ended.append(2)

    await slow.enqueue()
    await slow_thread.enqueue()
    await stem_memory.run_due()
    assert sorted(ended) == [1, 2]


async def test_tasks_that_do_not_end_are_named(stem_memory):
    """The test sets the time limit."""

    @stem_memory.app.task("stuck")
    async def stuck() -> None:
        await asyncio.Event().wait()

    handle = await stuck.enqueue()
    for _ in range(2):  # the timeout requeued its message
        with pytest.raises(TimeoutError, match=f"task stuck {handle.id}") as caught:
            await stem_memory.run_due(timeout=0.05)
    assert "async with stem_memory.worker()" in str(caught.value)


async def test_a_worker_in_the_background_lets_code_wait_for_results(shop, stem_memory):
    """Code that enqueues a task and waits for its result needs a worker that runs meanwhile."""
    async with stem_memory.worker() as worker:
        handle = await shop.checkout(4)
        assert await handle.result(timeout=60) == 4
        await stem_memory.run_due()
        assert worker.unsettled == 0
    assert len(stem_memory.outcomes()) == 2


async def test_waiting_for_a_result_without_a_worker_is_a_mistake(shop, stem_memory):
    """The wait would never end."""
    handle = await shop.checkout()
    with pytest.raises(StemError, match=r"no worker runs.*\n.*stem_memory.run_due\(\)"):
        await handle.result(timeout=60)


def test_synchronous_tests_run_what_is_due(shop, stem_memory):
    """Tasks run in a thread with an event loop, and a plain handle has the result."""
    handle = shop.pay.enqueue_blocking(ORDER, 5)
    assert len(stem_memory.run_due_blocking()) == 2
    assert handle.result() == 5
    assert handle.state() is TaskState.SUCCEEDED
    shop.pay.enqueue_blocking(ORDER, -1)
    with pytest.raises(ValueError, match="negative"):
        stem_memory.run_due_blocking(raise_errors=True)
    assert len(stem_memory.advance_blocking("2h")) == 2
    assert len(stem_memory.dead_letters()) == 1


async def test_the_blocking_form_is_refused_where_one_can_wait(stem_memory):
    """It would block the event loop that has to run the task."""
    with pytest.raises(StemError, match=r"await stem_memory.run_due\(\)"):
        stem_memory.run_due_blocking()
    with pytest.raises(StemError, match=r"await stem_memory.advance"):
        stem_memory.advance_blocking("1h")


def test_an_event_loop_in_another_thread_has_the_tasks(shop, stem_memory):
    """This holds for a test client that runs an async application in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        handle = asyncio.run_coroutine_threadsafe(shop.checkout(2), loop).result(60)
        assert len(stem_memory.run_due_blocking()) == 2
        assert asyncio.run_coroutine_threadsafe(handle.result(), loop).result(60) == 2
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    asyncio.run(shop.checkout(3))  # and an event loop that lives for one request only
    assert len(stem_memory.run_due_blocking()) == 2


async def test_an_unknown_task_fails_at_once(shop, stem_memory):
    """Only a deploy is worth a wait: in a test, the name is wrong."""
    assert shop.stem.settings.unknown_task_wait == 600
    handle = await stem_memory.app.enqueue("shop.pai")
    with pytest.raises(TaskFailedError, match=r"no task 'shop\.pai'.*did you mean shop\.pay"):
        await stem_memory.run_due(raise_errors=True)
    (outcome,) = stem_memory.outcomes()
    assert outcome.reason == Reason.UNKNOWN_TASK
    with pytest.raises(TaskFailedError, match="unknown-task"):
        await handle.result()
