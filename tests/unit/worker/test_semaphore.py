"""A semaphore whose size changes while it is in use."""

import asyncio

import pytest

from stem_amqp.worker.semaphore import ResizableSemaphore


async def takers(slots, number):
    """Return tasks that each take a slot, and the list of those that have one, in their order."""
    got = []

    async def take(name):
        await slots.acquire()
        got.append(name)

    tasks = [asyncio.create_task(take(name)) for name in range(number)]
    await turns()
    return tasks, got


async def turns():
    """Let the event loop turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_are_given_in_order_and_passed_on():
    """No more tasks than slots have one at a time."""
    slots = ResizableSemaphore(2)
    tasks, got = await takers(slots, 4)
    assert got == [0, 1]
    slots.release()
    await turns()
    assert got == [0, 1, 2]
    slots.release()
    await asyncio.gather(*tasks)
    assert got == [0, 1, 2, 3]


async def test_more_slots_are_given_at_once():
    """Waiting tasks need no release."""
    slots = ResizableSemaphore(1)
    tasks, got = await takers(slots, 4)
    slots.resize(3)
    await turns()
    assert got == [0, 1, 2]
    slots.release()
    await asyncio.gather(*tasks)


async def test_slots_beyond_a_smaller_number_are_not_given_again():
    """Those in use stay in use until they are released."""
    slots = ResizableSemaphore(3, taken=3)
    slots.resize(1)
    tasks, got = await takers(slots, 2)
    slots.release()
    slots.release()
    await turns()
    assert got == []
    slots.release()
    await turns()
    assert got == [0]
    slots.release()
    await asyncio.gather(*tasks)


async def test_a_cancelled_wait_takes_no_slot():
    """Neither before its turn, nor in the turn of the event loop in which it gets one."""
    slots = ResizableSemaphore(1, taken=1)
    (first, second), got = await takers(slots, 2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    slots.release()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert got == []
    async with asyncio.timeout(5):
        await slots.acquire()


async def test_a_release_in_the_same_turn_as_a_cancellation_passes_the_slot_on():
    """The cancelled task ends as cancelled, and the next one gets the slot."""
    slots = ResizableSemaphore(1)
    await slots.acquire()
    tasks, got = await takers(slots, 2)
    tasks[0].cancel()
    slots.release()
    await turns()
    assert tasks[0].cancelled()
    assert got == [1]
    slots.release()
    await slots.acquire()
    assert slots.locked()
