"""Test limits across workers on RabbitMQ and on the in-memory broker: two workers of one namespace."""

import asyncio
import time

import pytest
from support import eventually

from stem_amqp import Limit, TaskContext, TaskState
from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.worker.gates.limits.broker_places import place_names

RATE = 20
STARTS = 40


@pytest.fixture
def stem(make_stem, tmp_path):
    """Return an application with a store that its workers share."""
    return make_stem(backend_url=f"sqlite:///{tmp_path}/limits.db")


async def test_a_rate_holds_over_two_workers(stem):
    """No second has more starts than the rate, and every task runs once, at its first attempt."""
    starts, attempts = [], []

    @stem.task("limited", queue="q", rate_limit=f"{RATE}/s")
    async def limited(number: int, ctx: TaskContext) -> None:
        starts.append((time.monotonic(), number))
        attempts.append(ctx.attempt)

    async with stem:
        await stem.enqueue_many(limited.prepare(n) for n in range(STARTS))
        begun = time.monotonic()
        async with stem.worker().running(), stem.worker().running():
            await eventually(lambda: len(starts) == STARTS)
    assert sorted(number for _, number in starts) == list(range(STARTS))
    assert set(attempts) == {0}
    moments = [at for at, _ in starts]
    # a start may be late by up to a second, so that its second has those of two
    most = max(sum(at <= other < at + 1 for other in moments) for at in moments)
    assert most <= 2 * RATE + 1
    # not from the first start, which may be as late as all others
    assert moments[-1] - begun >= (STARTS - 1) / RATE - 1


async def test_a_waiting_task_holds_no_slot_and_blocks_no_other(stem):
    """While one task waits for an hour, the others of its queue run on the only slot."""
    ran = []

    @stem.task("slow", queue="q", rate_limit="1/h")
    async def slow(number: int) -> None:
        ran.append(number)

    @stem.task("free", queue="q")
    async def free() -> None: ...

    async with stem:
        await stem.enqueue_many(slow.prepare(n) for n in range(5))
        handles = await stem.enqueue_many(free.prepare() for _ in range(5))
        async with stem.worker(concurrency=1).running():
            for handle in handles:
                await handle.result(timeout=60)
            await eventually(lambda: len(ran) == 1)
            record = await stem.connected.backend.get(handles[0].id)
    assert record.state is TaskState.SUCCEEDED


async def test_keys_do_not_wait_for_each_other(stem):
    """One of two tenants enqueues ten times more; both have their first start at once."""
    ran = []

    @stem.task("limited", queue="q", limits=[Limit("1/h", by="args.tenant")])
    async def limited(tenant: str) -> None:
        ran.append(tenant)

    async with stem:
        calls = [limited.prepare("flood") for _ in range(10)]
        await stem.enqueue_many([*calls, limited.prepare("other")])
        async with stem.worker().running():
            await eventually(lambda: len(ran) == 2)
    assert sorted(ran) == ["flood", "other"]


async def test_no_more_tasks_run_at_once_than_the_limit_allows(make_stem, tmp_path):
    """Two workers with three slots each run two tasks at a time, until all have run."""
    file = tmp_path / "topology.yaml"
    file.write_text("version: 1\nlimits: {two: {concurrency: 2}}\n")
    stem = make_stem(backend_url=f"sqlite:///{tmp_path}/limits.db", topology=file)
    running, most = set(), []

    @stem.task("limited", queue="q", limits=["two"])
    async def limited(number: int) -> None:
        running.add(number)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.discard(number)

    async with stem:
        handles = await stem.enqueue_many(limited.prepare(n) for n in range(10))
        async with stem.worker(concurrency=3).running(), stem.worker(concurrency=3).running():
            for handle in handles:
                await handle.result(timeout=40)
    assert len(most) == 10
    assert max(most) <= 2


async def test_a_limit_that_does_not_exist_stops_the_start_of_a_worker(stem):
    """The error names the limits that there are."""

    @stem.task("limited", queue="q", limits=["strip"])
    async def limited() -> None: ...

    async with stem:
        with pytest.raises(ConfigurationError, match="names the limit strip, which does not exist"):
            await stem.worker().run()


async def test_rates_without_a_store_hold_in_each_worker_and_the_worker_says_so(make_stem, caplog):
    """The error names the rates and the remedy."""
    stem, ran = make_stem(backend_url="rpc://"), []

    @stem.task("limited", queue="q", rate_limit="1/h", ignore_result=True)
    async def limited() -> None:
        ran.append(1)

    async with stem:
        await stem.enqueue_many(limited.prepare() for _ in range(4))
        async with stem.worker(name="a").running(), stem.worker(name="b").running():
            await eventually(lambda: ran)
    assert "apply in each worker process separately: limited 1/h" in caplog.text
    assert len(ran) <= 2


@pytest.fixture
async def without_store(make_stem):
    """Yield an application without a store, and delete the places of its limit."""
    stem = make_stem(backend_url="rpc://")
    yield stem
    async with stem:
        key = f"{stem.settings.namespace}/task:limited at once"
        places = [Queue(name=name) for name in place_names(stem.names, key, 3)]
        await stem.connected.transport.delete(Entities(queues=tuple(places)))


async def test_without_a_store_the_broker_holds_the_places_of_running_tasks(without_store):
    """Two workers with three slots each run two tasks at a time, until all have run."""
    stem, running, most = without_store, set(), []

    @stem.task("limited", queue="q", concurrency_limit=2)
    async def limited(number: int) -> None:
        running.add(number)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.discard(number)

    async with stem:
        handles = await stem.enqueue_many(limited.prepare(n) for n in range(6))
        async with stem.worker(concurrency=3).running(), stem.worker(concurrency=3).running():
            for handle in handles:
                await handle.result(timeout=40)
    assert len(most) == 6
    assert max(most) <= 2
