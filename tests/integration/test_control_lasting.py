"""Commands that last: obeyed by the workers that run, confirmed by each, and by those that start later."""

import asyncio
import logging
import threading

import pytest
from support import PATIENCE, eventually

from stem_amqp.control import gather
from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.registry.listing import consumers_of


@pytest.fixture
def shop(stem):
    """Return an application with tasks that wait, and how many of them run at once."""
    stem.reconfigure(heartbeat_interval=PATIENCE)  # commands wait a second longer for answers
    stem.go, stem.running, stem.most = asyncio.Event(), 0, 0

    @stem.task("orders.sync", queue="orders")
    async def sync() -> None:
        stem.running += 1
        stem.most = max(stem.most, stem.running)
        try:
            await stem.go.wait()
        finally:
            stem.running -= 1

    return stem


async def enqueue(stem, number):
    """Enqueue tasks, and return their handles."""
    return [await stem.enqueue("orders.sync") for _ in range(number)]


async def test_the_concurrency_grows_and_shrinks_while_tasks_run(shop, monkeypatch):
    """More tasks start at once, running ones continue, and no result is lost."""

    async def nobody(*_):
        return {}

    # RabbitMQ counts a consumer that was replaced while its tasks run, so that each command would wait
    monkeypatch.setattr(gather, "consumers_of", nobody)
    async with shop, shop.worker(["orders"], concurrency=2, name="web-1").running() as worker:
        handles = await enqueue(shop, 8)
        await eventually(lambda: shop.running == 2)

        answers = await shop.control.concurrency("+3", issuer="ann")
        (change,) = answers.values["web-1"].queues
        assert (change.queue, change.before, change.now, change.running) == ("orders", 2, 5, 2)
        assert answers.stored
        await eventually(lambda: shop.running == 5)

        smaller = (await shop.control.concurrency("=1")).values["web-1"].queues[0]
        assert (smaller.before, smaller.now, smaller.running) == (5, 1, 5)
        assert shop.running == 5, "they continue"
        shop.most = 0
        shop.go.set()
        await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert worker._gauges.capacity == {"orders": 1}
        again = (await shop.control.concurrency(None)).values["web-1"].queues[0]
        assert (again.before, again.now) == (1, 2)
        shop.go.clear()
        shop.most = 0
        more = await enqueue(shop, 4)
        await eventually(lambda: shop.running == 2)
        shop.go.set()
        await asyncio.gather(*(handle.result(timeout=60) for handle in more))
        assert shop.most == 2


async def test_a_worker_that_starts_later_obeys(shop):
    """Relative changes add up; no worker need be up."""
    async with shop:
        first = await shop.control.concurrency("+2", queue="orders")
        assert (len(first), first.complete, bool(first.stored)) == (0, True, True)
        await shop.control.concurrency("+3", queue="orders")
        async with shop.worker(["orders"], concurrency=2, name="web-1").running() as worker:
            await eventually(lambda: worker._gauges.capacity == {"orders": 7})
            await enqueue(shop, 8)
            await eventually(lambda: shop.running == 7)
            shop.go.set()
            held = await shop.control.in_force()
            assert [one.what for one in held] == ["concurrency +5 queue orders"]
        await shop.control.concurrency(None, queue="orders")
        assert await shop.control.in_force() == ()


async def test_synchronous_tasks_get_the_threads_that_they_need(stem):
    """The pool of threads grows with the concurrency."""
    go, running = threading.Event(), []

    @stem.task("orders.block", queue="orders")
    def block() -> None:
        running.append(1)
        go.wait(60)

    async with stem, stem.worker(["orders"], concurrency=1).running():
        handles = [await stem.enqueue("orders.block") for _ in range(3)]
        await eventually(lambda: len(running) == 1)
        await stem.control.concurrency("=3")
        await eventually(lambda: len(running) == 3)
        go.set()
        await asyncio.gather(*(handle.result(timeout=60) for handle in handles))


def log_levels():
    """Return the levels that a directive changes."""
    names = ("root", "aio_pika", "aiormq", "stem_amqp.control")
    return [logging.getLogger(name).level for name in names]


async def test_the_log_level_is_set_and_set_back(shop, caplog):
    """Audit lines are written at any level."""
    caplog.set_level(logging.INFO, logger="stem_amqp.control")
    root, before = logging.getLogger(), log_levels()
    async with shop, shop.worker(["orders"], name="web-1").running():
        changed = (await shop.control.log_level("error", issuer="ann")).values["web-1"]
        assert (changed.level_before, changed.level) == (logging.getLevelName(before[0]), "ERROR")
        assert root.level == logging.ERROR
        back = (await shop.control.log_level(None, issuer="bob")).values["web-1"]
        assert back.level == logging.getLevelName(before[0])
        assert log_levels() == before
    text = caplog.text
    assert "'log-level ERROR' by 'ann'" in text
    assert "'end of log-level' by 'bob'" in text


async def test_workers_of_one_process_share_its_log_level(shop):
    """Each obeys the directive; what was configured before the first one is restored by the last."""
    before = log_levels()
    async with shop, shop.worker(["orders"], name="web-1").running():
        async with shop.worker(["orders"], name="web-2").running():
            assert len(await shop.control.log_level("error")) == 2
            await shop.control.log_level("critical", workers="web-2")
            assert log_levels()[:3] == [logging.CRITICAL] * 3
        assert log_levels() == [*[logging.ERROR] * 3, logging.INFO], "web-1 runs"
        await shop.control.log_level(None)
        assert log_levels() == before


async def test_a_worker_that_stops_gives_its_log_level_up(shop):
    """Also one whose directive was there before it started; or the process kept the level."""
    before = log_levels()
    async with shop:
        await shop.control.log_level("debug")
        for name in ("web-1", "web-2"):
            async with shop.worker(["orders"], name=name).running():
                assert logging.getLogger().level == logging.DEBUG
            assert log_levels() == before


async def test_a_worker_that_fails_to_start_gives_its_log_level_up(shop):
    """It has obeyed the directive before it failed."""
    before, met = log_levels(), []

    async def fail():
        met.append(logging.getLogger().level)
        raise RuntimeError("the start fails")

    async with shop:
        await shop.control.log_level("debug")
        worker = shop.worker(["orders"], name="web-1")
        worker.steering.settled.append(fail)
        with pytest.raises(RuntimeError, match="the start fails"):
            await worker.run()
    assert met == [logging.DEBUG]
    assert log_levels() == before


async def test_a_revocation_says_which_runs_it_ends(shop):
    """And how many it meets otherwise; the history has who did it."""
    async with shop, shop.worker(["orders"], name="web-1").running():
        (handle,) = await enqueue(shop, 1)
        await eventually(lambda: shop.running == 1)
        met = await shop.control.revoke_all(task="orders.*", issuer="ann", reason="flood")
        assert met.values["web-1"].running == 1
        ended = await shop.control.revoke(handle.id, terminate=True, issuer="ann")
        assert [one.id for one in ended.values["web-1"].ended] == [handle.id]
        await eventually(lambda: shop.running == 0)
        history = await shop.control.history()
        assert [(one.kind, one.by) for one in history] == [("revoke", "ann")] * 2
        assert history[0].reason == "flood"
        assert history[1].nonce == ended.nonce


async def test_a_consumer_that_ends_while_a_command_is_sent_is_not_waited_for(shop, monkeypatch):
    """A worker that pauses a queue was counted before, and its heartbeat does not name the queue any more."""
    counts = []

    async def counted(*args):
        counts.append(await consumers_of(*args))
        first = len(counts) == 1
        return {queue: number + first for queue, number in counts[-1].items()}

    monkeypatch.setattr(gather, "consumers_of", counted)
    async with shop, shop.worker(["orders"], name="web-1").running():
        answers = await shop.control.pause(queue="orders", timeout="60s")
    assert (answers.complete, answers.silent) == (True, {})
    assert len(counts) > 1


async def test_a_rate_limit_is_set_at_run_time(shop):
    """Tasks without a limit get one, and lose it again."""
    shop.go.set()
    async with shop, shop.worker(["orders"], name="web-1").running() as worker:
        assert not worker._limits.everywhere
        answers = await shop.control.rate_limit("orders.sync", "600/m")
        assert set(answers.values) == {"web-1"}
        assert worker._limits.everywhere
        for handle in await enqueue(shop, 3):
            await handle.result(timeout=60)
        await shop.control.rate_limit("orders.sync", None)
        assert not worker._limits.everywhere


async def is_counted(shop):
    """Return whether the broker counts the consumer of the queue."""
    return await consumers_of(shop.connected.transport, shop.names, {"orders": 1}) == {"orders": 1}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda control: control.concurrency("20"), "write \\+5 for five more"),
        (lambda control: control.concurrency("-10"), "would make it -8"),
        (lambda control: control.concurrency("=0"), "must be 1 to 65535"),
        (lambda control: control.concurrency("+1", queue="order"), "did you mean orders"),
        (lambda control: control.log_level("DEBG"), "did you mean DEBUG"),
        (lambda control: control.rate_limit("orders.sync", "fast"), "is not a valid rate"),
        (lambda control: control.rate_limit("orders.synk", "5/s"), "did you mean orders.sync"),
        (lambda control: control.pause(task="orders.synk"), "did you mean orders.sync"),
        (lambda control: control.pause(), "name a queue or a task"),
        (lambda control: control.resume(queue="orders"), "there is no pause of queue orders"),
        (lambda control: control.pause(queue="orders", workers="wbe"), "no worker is named 'wbe'"),
        (lambda control: control.pause(queue="orders", lifetime=0), "for more than 0 s"),
        (lambda control: control.pause(queue="orders", queues="x"), "has no option 'queues'"),
        (lambda control: control.revoke_all(), "nothing says which tasks"),
    ],
)
async def test_wrong_use_is_refused_with_a_remedy(shop, monkeypatch, call, says):
    """Nothing is stored."""
    # a worker that has not answered by then has no bounds
    monkeypatch.setattr("stem_amqp.control.lasting.ANSWER", PATIENCE)
    async with shop, shop.worker(["orders"], concurrency=2, name="web-1").running():
        # a worker whose consumer RabbitMQ does not count yet is not waited for
        await eventually(lambda: is_counted(shop), "the worker's consumer")
        with pytest.raises(ConfigurationError, match=f"(?s){says}"):
            await call(shop.control)
        assert await shop.control.history() == ()
