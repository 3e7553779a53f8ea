"""A background task ends when it is cancelled."""

import asyncio
import uuid

from stem_amqp import Stem, cancellation
from stem_amqp.worker.steering.topology_watch import TopologyWatch


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same(monkeypatch):
    """Before Python 3.12 a cancellation that coincides with a result is swallowed."""
    monkeypatch.setattr(cancellation, "CANCEL_AGAIN", 0.01)
    lost = []

    async def supervise():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    task = asyncio.create_task(supervise())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await cancellation.end(task)
    assert lost
    assert task.cancelled()


async def test_a_worker_stops_although_a_background_task_loses_a_cancellation(monkeypatch):
    """The check of the topology calls a client library that may swallow it."""
    monkeypatch.setattr(cancellation, "CANCEL_AGAIN", 0.01)
    lost = []

    async def run(self):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    monkeypatch.setattr(TopologyWatch, "run", run)
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)

    @stem.task("work")
    async def work():
        pass

    async with asyncio.timeout(60), stem, stem.worker().running():
        await (await work.enqueue()).result()
    assert lost


async def test_ending_nothing_is_no_error():
    """There is no task yet, or it has ended."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await cancellation.end(task)
    await cancellation.end(None)
    assert task.done()
    assert not task.cancelled()
