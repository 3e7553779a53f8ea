"""Background work of the transport: it ends when it is told to."""

import asyncio

from stem_amqp.transport.amqp import tasks


async def test_a_task_that_loses_a_cancellation_is_ended_all_the_same(monkeypatch):
    """Before Python 3.12 a cancellation that comes together with a result is swallowed."""
    monkeypatch.setattr(tasks, "CANCEL_AGAIN", 0.01)
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
    async with asyncio.timeout(10):
        await tasks.end(task)
    assert lost
    assert task.cancelled()


async def test_ending_nothing_is_no_error():
    """There is no task yet, or it has ended."""
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await tasks.end(task)
    await tasks.end(None)
    assert task.done()
    assert not task.cancelled()
