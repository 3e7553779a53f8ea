"""The result backend in memory, shared by event loops in several threads."""

import asyncio
import threading

from support import PATIENCE

from stem_amqp.clock import SystemClock
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.states import TaskState


async def test_an_end_wakes_a_waiter_in_the_event_loop_of_another_thread():
    """No other event occurs in that loop, so that only the end of the task can wake it."""
    store, task_id, waits, records = MemoryStore(), new_id(), threading.Event(), []

    async def wait():
        backend = MemoryBackend(store, SystemClock())
        await backend.open()
        asyncio.get_running_loop().call_soon(waits.set)
        records.append(await backend.wait(task_id))
        await backend.close()

    thread = threading.Thread(target=asyncio.run, args=[wait()], daemon=True)
    thread.start()
    assert await asyncio.to_thread(waits.wait, PATIENCE)
    backend = MemoryBackend(store, SystemClock())
    await backend.open()
    change = Transition(
        task_id=task_id, state=TaskState.SUCCEEDED, task="t", queue="q", at=1.0, ttl=60
    )
    await backend.transition([change])
    await asyncio.to_thread(thread.join, PATIENCE)
    assert [record.task_id for record in records] == [task_id]
    await backend.close()
