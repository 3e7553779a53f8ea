"""A rolling deploy: workers of two releases consume one queue, on RabbitMQ and in memory."""

import base64
import collections

import pytest
from support import eventually

from stem_amqp import TaskContext
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.worker.gates import unknown

KEY = "k1:" + base64.b64encode(b"k" * 32).decode()
BACKEND = "memory://rolling-deploy"
TASKS = 20


@pytest.fixture
def quick(monkeypatch):
    """Let unknown tasks come back after tenths of a second, and log one line however long that takes."""
    monkeypatch.setattr(unknown, "SHORTEST_DELAY", 0.1)
    monkeypatch.setattr(unknown, "LONGEST_DELAY", 0.3)
    monkeypatch.setattr(unknown, "LOG_PERIOD", 3600.0)


def released(stem, runs):
    """Add the task of the new release."""

    @stem.task("shop.fresh", queue="work")
    async def fresh(ctx: TaskContext, number: int) -> int:
        runs.append((number, ctx.attempt, ctx.meta["from"]))
        return number

    return fresh


def ordinary(stem, runs):
    """Add the task that both releases have."""

    @stem.task("shop.old", queue="work")
    async def old(number: int) -> None:
        runs.append(number)

    return old


async def test_every_task_of_a_new_release_runs_once_beside_a_worker_of_the_old_one(
    make_stem, quick, caplog
):
    """No message is dead-lettered, no attempt is spent; signed publishes stay valid."""
    before, after = (make_stem(backend_url=BACKEND) for _ in range(2))
    for one in (before, after):
        one.reconfigure(signing_key=KEY)
    fresh_runs, old_runs = [], []
    old = ordinary(before, old_runs)
    ordinary(after, old_runs)
    fresh = released(after, fresh_runs)
    async with before, after:
        calls = [fresh.options(meta={"from": "test"}).prepare(number) for number in range(TASKS)]
        async with before.worker(["work"]).running() as worker:
            await after.enqueue_many(calls)
            # Some of them at least come to the old worker, which is still alone
            await eventually(lambda: worker.statistics().done >= TASKS)
            await before.enqueue_many([old.prepare(number) for number in range(TASKS)])
            async with after.worker(["work"]).running():
                await eventually(lambda: len(fresh_runs) >= TASKS and len(old_runs) >= TASKS)
        status = await after.connected.transport.status([after.names.dlq("work")])
    assert sorted(fresh_runs) == [(number, 0, "test") for number in range(TASKS)]
    assert collections.Counter(old_runs) == dict.fromkeys(range(TASKS), 1)
    assert status[after.names.dlq("work")].ready == 0
    lines = [one for one in caplog.messages if "this worker has no task 'shop.fresh'" in one]
    assert len(lines) == 1


async def test_a_task_that_no_worker_knows_is_a_dead_letter_after_the_wait_and_can_be_replayed(
    make_stem, quick
):
    """The reason and the error say what happened; a replay begins a new wait."""
    topology = parse_topology("version: 1\nqueues: {work: {unknown_task: {wait: 500ms}}}")
    old, new = (make_stem(backend_url=BACKEND, topology=topology) for _ in range(2))
    ordinary(old, [])
    runs = []
    fresh = released(new, runs)
    async with old, new:
        letters = DeadLetters(old, "work")
        handle = await fresh.options(meta={"from": "test"}).enqueue(1)
        async with old.worker(["work"]).running():

            async def letter():
                return await letters.list()

            [dead] = await eventually(letter)
            assert dead.reason == "unknown-task"
            assert dead.error.startswith("this worker has no task 'shop.fresh', and it waited ")
            assert dead.error.endswith(" for a worker that has it; its tasks: shop.old")
            assert dead.attempt == 0

            async def failed():
                return (await handle.status()).state == "failed"

            await eventually(failed)
        async with new.worker(["work"]).running():
            report = await letters.replay(ALL)
            assert report.replayed == 1
            assert await handle.result(timeout=60) == 1
    assert runs == [(1, 0, "test")]
