"""Batch tasks with deliveries of a real broker, and in memory."""

import asyncio
import uuid

import pytest
from support import eventually

from stem_amqp import Batch, BatchFailed, Reject, TaskFailedError


@pytest.fixture
def sizes():
    """Return the sizes of the batches."""
    return []


@pytest.fixture
def squares(stem, sizes):
    """Return a batch task that squares numbers, and rejects negative ones."""

    @stem.task("square", queue="numbers", batch=Batch(size=25, within="5m"))
    async def square(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        wrong = {index: Reject("negative") for index, one in enumerate(numbers) if one < 0}
        raise BatchFailed(wrong, [one**2 for one in numbers])

    return square


async def test_messages_become_batches_and_each_has_its_own_end(stem, squares, sizes):
    """Batches are full while there are messages, beyond the concurrency of the queue."""
    async with stem:
        handles = await stem.enqueue_many(squares.prepare(n) for n in [*range(74), -1])
        async with stem.worker(concurrency=2).running():
            results = [await handle.result(timeout=60) for handle in handles[:74]]
            with pytest.raises(TaskFailedError, match="negative"):
                await handles[74].result(timeout=60)
    assert results == [n**2 for n in range(74)]
    assert sizes == [25, 25, 25]


async def test_a_worker_that_stops_while_it_collects_returns_the_messages(stem, squares, sizes):
    """They are ready in the queue again, and none has run."""

    async def ready():
        name = stem.names.work("numbers")
        return (await stem.connected.transport.status([name]))[name].ready

    async def is_ready(count):
        return await ready() == count

    async with stem:
        for number in range(3):
            await squares.enqueue(number)
        worker = stem.worker()
        async with worker.running():
            await eventually(lambda: worker._executor.collector.collected == 3, "three messages")
        assert await eventually(lambda: is_ready(3), "three messages in the queue")
    assert sizes == []


async def test_a_batch_that_is_stopped_is_cancelled_and_returned(make_stem):
    """At the end of the grace period; the next worker runs the same messages again."""
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    stem.reconfigure(grace_period=0.1)
    begun, ran, stuck = asyncio.Event(), [], True

    @stem.task("slow", queue="q", batch=Batch(size=2))
    async def slow(items: list[int]) -> None:
        begun.set()
        if stuck:
            await asyncio.Event().wait()
        ran.extend(items)

    async with stem:
        handles = [await slow.enqueue(number) for number in range(2)]
        async with stem.worker().running():
            await begun.wait()
        stuck = False
        async with stem.worker().running():
            for handle in handles:
                await handle.result(timeout=60)
    assert sorted(ran) == [0, 1]
