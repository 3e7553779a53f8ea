"""Test rule 9, recovery by itself: a worker under load whose connections or queue are lost."""

import asyncio
import collections
import uuid

import pytest
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.topology.entities import Entities


@pytest.fixture
async def stem(stem_broker_url):
    """Yield an application on RabbitMQ."""
    stem = Stem(
        broker_url=stem_broker_url,
        namespace=f"t-{uuid.uuid4().hex[:8]}",
        backend_url=f"memory://{uuid.uuid4().hex}",
    )
    stem.task("declares", queue="q")(lambda: None)
    yield stem
    async with stem:
        await stem.connected.transport.delete(stem.blueprint.entities)


def cut(stem, connection):
    """Abort the socket of one of the two connections, like a network failure."""
    link = getattr(stem.connected.transport, connection)._link
    if link is not None:
        link.abort()


async def test_rule_9_connections_cut_under_load_lose_nothing(stem):
    """Two hundred tasks that fail once each succeed in spite of ten cuts of the connections."""
    runs = collections.Counter()

    @stem.task("work", queue="q", retry={"base": "100ms", "jitter": 0}, max_retries=5)
    async def work(number: int, ctx: TaskContext) -> int:
        runs[number] += 1
        await asyncio.sleep(0.01)
        if ctx.attempt == 0:
            raise ValueError("first")
        return number

    heard = []
    stem.signals.worker_connection_lost.connect()(lambda e: heard.append("lost"))
    stem.signals.worker_connection_restored.connect()(lambda e: heard.append("restored"))
    async with stem:
        async with stem.worker(concurrency=10).running():
            handles = await stem.enqueue_many(work.prepare(n) for n in range(200))
            for round_ in range(10):
                reached = sum(runs.values())
                await eventually(
                    lambda reached=reached: sum(runs.values()) >= min(reached + 5, 400), "progress"
                )
                cut(stem, ("_consuming", "_publishing")[round_ % 2])
            assert [await h.result(timeout=60) for h in handles] == list(range(200))
            await eventually(lambda: heard.count("restored") >= 5, "restored connections")
        name = stem.names.work("q")
        assert (await stem.connected.transport.status([name]))[name].ready == 0
    assert heard.count("lost") >= 5
    assert all(count >= 2 for count in runs.values())


async def test_rule_9_a_deleted_queue_comes_back_and_is_consumed(stem):
    """The worker declares the topology again, and continues without a restart."""

    @stem.task("work", queue="q")
    async def work(number: int) -> int:
        return number

    async with stem, stem.worker().running() as worker:
        assert await (await work.enqueue(1)).result(timeout=60) == 1
        (queue,) = [q for q in stem.blueprint.entities.queues if q.name == stem.names.work("q")]
        await stem.connected.transport.delete(Entities(queues=(queue,)))
        await eventually(
            lambda: comes_back(stem, worker), "a consumer on the new queue", timeout=60
        )
        assert await (await work.enqueue(2)).result(timeout=60) == 2


async def comes_back(stem, worker):
    """Return whether the queue exists and has its consumer."""
    name = stem.names.work("q")
    status = (await stem.connected.transport.status([name]))[name]
    return status is not None and status.consumers == 1 and worker.statistics().consuming == ("q",)
