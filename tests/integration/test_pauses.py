"""Pauses of queues and tasks: what runs, what waits in the broker, and what runs after a resume."""

import asyncio

import pytest
from support import eventually

from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.worker.intake.sources import Sources


async def pause(stem, **target):
    """Pause a queue or a task, as an operator does; workers learn of it a moment later."""
    desk = stem.connected.desk(stem.blueprint)
    await desk.issue(Directive(kind=Kind.PAUSE, target=Target(**target), reason="a test"))


async def pause_in_worker(stem, **target):
    """Pause a queue or a task, and wait until the worker obeys."""
    answers = await stem.control.pause(**target, timeout="60s")
    assert answers.complete
    assert len(answers.values) == 1


async def resume(stem, **target):
    """Resume a queue or a task."""
    await stem.connected.desk(stem.blueprint).withdraw(Kind.PAUSE, Target(**target))


@pytest.fixture
def shop(stem):
    """Yield an application with a queue of two tasks, and what they ran."""
    ran = {"charge": [], "mail": []}

    @stem.task("shop.charge", queue="orders")
    async def charge(number: int) -> int:
        ran["charge"].append(number)
        return number

    @stem.task("shop.mail", queue="orders")
    async def mail(number: int) -> int:
        ran["mail"].append(number)
        return number

    stem.ran, stem.charge, stem.mail = ran, charge, mail
    return stem


async def ready(stem, name):
    """Return the number of ready messages in a queue; None if there is no such queue."""
    found = (await stem.connected.transport.status([name]))[name]
    return None if found is None else found.ready


async def test_a_paused_queue_is_silent_until_it_is_resumed(shop):
    """A running task ends; the other messages wait in the queue, with no consumer."""
    going, started = asyncio.Event(), asyncio.Event()

    @shop.task("slow", queue="orders")
    async def slow() -> None:
        started.set()
        await going.wait()

    async with shop, shop.worker(concurrency=1, prefetch=10).running() as worker:
        running = await slow.enqueue()
        await started.wait()
        await pause(shop, queue="orders")
        await eventually(lambda: worker.statistics().paused == ("orders",))
        for number in range(20):
            await shop.charge.enqueue(number)
        # what the worker took before the broker had ended its consumer is returned: no task of it can start
        await eventually(lambda: _is(shop, shop.names.work("orders"), 20))
        going.set()
        await running.result(timeout=60)
        await eventually(lambda: _idle(shop, shop.names.work("orders"), 20))
        assert shop.ran["charge"] == []
        await resume(shop, queue="orders")
        await eventually(lambda: len(shop.ran["charge"]) == 20)
        assert worker.statistics().consuming == ("orders",)


@pytest.mark.parametrize("way", ["leave", "stop"])
async def test_a_message_is_returned_once_while_the_broker_ends_a_consumer(shop, monkeypatch, way):
    """Returned before, it would be delivered here again and again, up to the delivery limit."""
    asked, goes_on = asyncio.Event(), asyncio.Event()
    real = getattr(Sources, way)

    async def late(sources):
        asked.set()
        await goes_on.wait()
        await real(sources)

    monkeypatch.setattr(Sources, way, late)
    async with shop, shop.worker(concurrency=1, prefetch=10).running() as worker:
        if way == "leave":
            await pause(shop, queue="orders")
        else:
            worker.stop()
        await asked.wait()
        for number in range(5):
            await shop.charge.enqueue(number)
        await eventually(lambda: _is(shop, shop.names.work("orders"), 0))
        goes_on.set()
        await eventually(lambda: _is(shop, shop.names.work("orders"), 5))
        assert shop.ran["charge"] == []
        assert worker.statistics().done == 5


async def test_a_worker_that_starts_while_a_queue_is_paused_obeys(shop):
    """It is ready at once, and consumes after the resume."""
    async with shop:
        await shop.charge.enqueue(1)
        await pause(shop, queue="ord*")
        async with shop.worker().running() as worker:
            assert worker.ready.is_set()
            assert worker.statistics().paused == ("orders",)
            await eventually(lambda: _is(shop, shop.names.work("orders"), 1))
            await resume(shop, queue="ord*")
            await eventually(lambda: shop.ran["charge"] == [1])


async def test_a_paused_task_waits_and_does_not_block_the_others(shop):
    """Its messages wait in a queue of its own, spend no attempt, and run after the resume."""
    async with shop, shop.worker(concurrency=2).running():
        await pause_in_worker(shop, task="shop.ch*")
        handles = [await shop.charge.enqueue(number) for number in range(30)]
        mails = [await shop.mail.enqueue(number) for number in range(30)]
        for handle in mails:
            await handle.result(timeout=60)
        held = shop.names.held("orders", "shop.charge")
        await eventually(lambda: _is(shop, held, 30))
        await eventually(lambda: _is(shop, shop.names.work("orders"), 0))
        assert shop.ran["charge"] == []
        await resume(shop, task="shop.ch*")
        assert [await handle.result(timeout=60) for handle in handles] == list(range(30))
        assert sorted(shop.ran["charge"]) == list(range(30))
        await eventually(lambda: _is(shop, held, 0))


async def _idle(stem, name, number):
    """Return whether a queue has a number of ready messages, and no consumer."""
    found = (await stem.connected.transport.status([name]))[name]
    return (found.ready, found.consumers) == (number, 0)


async def _is(stem, name, number):
    return await ready(stem, name) == number


async def test_messages_of_a_paused_task_outlive_the_workers(shop):
    """They wait while no worker is up; one that starts after the resume runs them."""
    async with shop:
        await pause(shop, task="shop.charge")
        async with shop.worker().running():
            await shop.charge.enqueue(1)
            held = shop.names.held("orders", "shop.charge")
            await eventually(lambda: _is(shop, held, 1))
        async with shop.worker().running():
            await (await shop.mail.enqueue(1)).result(timeout=60)
            await eventually(lambda: _is(shop, held, 1))
        await resume(shop, task="shop.charge")
        await eventually(lambda: _is(shop, held, 1))
        async with shop.worker().running():
            await eventually(lambda: shop.ran["charge"] == [1])


async def test_a_pause_while_messages_come_back_holds_the_rest(shop):
    """What has not started waits again; after the next resume everything has run once."""
    going = asyncio.Event()

    @shop.task("slow", queue="orders")
    async def slow(number: int) -> int:
        shop.ran.setdefault("slow", []).append(number)
        await going.wait()
        return number

    async with shop, shop.worker(concurrency=1, prefetch=5).running():
        await pause_in_worker(shop, task="slow")
        handles = [await slow.enqueue(number) for number in range(10)]
        held = shop.names.held("orders", "slow")
        await eventually(lambda: _is(shop, held, 10))
        await resume(shop, task="slow")
        await eventually(lambda: shop.ran.get("slow"))
        await pause_in_worker(shop, task="slow")
        going.set()
        await eventually(lambda: _is(shop, held, 9))
        assert len(shop.ran["slow"]) == 1
        await resume(shop, task="slow")
        assert [await handle.result(timeout=60) for handle in handles] == list(range(10))
        assert sorted(shop.ran["slow"]) == list(range(10))
