"""The testing kit: workers that freeze, lose their connection, or die during a task."""

import asyncio
import logging

import pytest
from kit_shop import ORDER, Shop

from stem_amqp import TaskContext

HEARTBEAT = 60.0
LAPSE = 2 * HEARTBEAT


@pytest.fixture
def shop():
    shop = Shop()
    shop.stem.reconfigure(amqp_heartbeat=HEARTBEAT)
    return shop


@pytest.fixture
def stem_app(shop):
    return shop.stem


async def test_a_frozen_worker_takes_deliveries_and_does_not_go_on(shop, stem_memory):
    """It goes on after the thaw."""
    async with stem_memory.worker() as worker:
        worker.freeze()
        await shop.mail.enqueue("hello")
        await asyncio.sleep(0.01)
        assert (worker.frozen, worker.running, shop.done) == (True, 0, [])
        assert len(stem_memory.broker.messages(shop.stem.names.work("mails"))) == 0
        worker.thaw()
        assert len(await stem_memory.run_due()) == 1
    assert shop.done == [("mail", "hello")]


async def test_a_frozen_worker_misses_its_heartbeats_and_another_runs_its_tasks(shop, stem_memory):
    """After the thaw, its own delivery is no longer valid."""
    async with stem_memory.worker(name="first") as first:
        first.freeze_after_run(shop.mail)
        await shop.mail.enqueue("hello")
        await stem_memory.run_due()
        assert shop.done == [("mail", "hello")]
        assert stem_memory.outcomes() == []
        assert await stem_memory.advance(LAPSE - 1) == []
        (again,) = await stem_memory.advance(1)
        assert again.state == "succeeded"
        assert shop.done == [("mail", "hello")] * 2
        first.thaw()
        assert await stem_memory.run_due() == []
    assert len(stem_memory.outcomes()) == 1


async def test_a_thawed_worker_runs_what_it_holds_and_connects_again(shop, stem_memory, caplog):
    """The worker does not know that its delivery was requeued, so the task runs twice.

    It runs once if its success is stored before the delivery comes again, which the event loop
    decides.
    """
    caplog.set_level(logging.INFO, "stem_amqp.worker")
    async with stem_memory.worker() as worker:
        worker.freeze()
        await shop.mail.enqueue("hello")
        stem_memory.clock.advance(LAPSE)
        await asyncio.sleep(0)
        assert len(stem_memory.broker.messages(shop.stem.names.work("mails"))) == 1
        worker.thaw()
        assert len(await stem_memory.run_due()) == 1
    not_run = caplog.text.count(
        "is a repeated delivery and does not run again, earlier outcome: succeeded"
    )
    assert shop.done == [("mail", "hello")] * (2 - not_run)


async def test_a_task_stands_still_at_its_await(stem_memory):
    """It stops there even if the awaited result is ready, and continues from there."""
    came, go_on, steps = asyncio.Event(), asyncio.Event(), []

    @stem_memory.app.task("steps", queue="mails")
    async def work() -> None:
        steps.append("before")
        came.set()
        await go_on.wait()
        steps.append("after")

    async with stem_memory.worker() as worker:
        await work.enqueue()
        await worker.until_running()
        await came.wait()
        worker.freeze()
        go_on.set()
        await asyncio.sleep(0.01)
        assert steps == ["before"]
        worker.thaw()
        await stem_memory.run_due()
    assert steps == ["before", "after"]


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_dead_workers_task_runs_elsewhere_and_not_on(stem_memory, how):
    """Its own run stops where it was, even at the end of the test."""
    forever, steps = asyncio.Event(), []

    @stem_memory.app.task("steps", queue="mails")
    async def work(ctx: TaskContext) -> None:
        steps.append(ctx.worker)
        if ctx.worker == "first":
            await forever.wait()
            steps.append("never")

    async with stem_memory.worker(name="first") as worker:
        await work.enqueue()
        await worker.until_running()
        getattr(worker, how)()
        if how == "freeze":
            stem_memory.clock.advance(LAPSE)
        assert len(await stem_memory.run_due()) == 1
        forever.set()
    assert steps == ["first", "run_due"]


async def test_a_guarded_block_runs_once_despite_a_freeze(stem_memory):
    """The worker is frozen at the worst moment: the effect is done, and not yet reported."""
    charged, runs = [], []

    @stem_memory.app.task("charge", queue="mails")
    async def charge(ctx: TaskContext) -> None:
        runs.append(ctx.worker)
        async with ctx.once("card", lease="10s") as first:
            if first:
                charged.append(1)

    async with stem_memory.worker(name="first") as worker:
        worker.freeze_after_run(charge)
        await charge.enqueue()
        await stem_memory.advance(LAPSE)
    assert runs == ["first", "run_due"]
    assert charged == [1]


async def test_a_lost_connection_is_found_again(shop, stem_memory):
    """A task that was running runs again, and the worker goes on."""
    async with stem_memory.worker() as worker:
        worker.freeze_after_run()
        await shop.mail.enqueue("hello")
        await stem_memory.run_due()
        worker.lose_connection()
        worker.thaw()
        (again,) = await stem_memory.run_due()
    assert again.attempt == 0
    assert shop.done == [("mail", "hello")] * 2


async def test_a_plain_function_in_a_thread_stands_still_at_its_end(shop, stem_memory):
    """A thread cannot be stopped, but its outcome can be held."""
    async with stem_memory.worker() as worker:
        await shop.pay.enqueue(ORDER)
        await stem_memory.run_due()
        worker.freeze()
        await shop.ship.enqueue(1)
        await shop.ship.enqueue(2)
        worker.thaw()
        assert len(await stem_memory.run_due()) == 2
    assert {("ship", 1), ("ship", 2)} <= set(shop.done)


async def test_until_running_gives_up(stem_memory):
    """It gives up if no task is due."""
    async with stem_memory.worker(name="idle") as worker:
        with pytest.raises(TimeoutError, match="worker idle runs 0 tasks, not 1"):
            await worker.until_running(timeout=0.02)
