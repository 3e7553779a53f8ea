"""The slots of a queue in a worker: each running task holds one."""

from __future__ import annotations

import asyncio

from stem_amqp.worker.semaphore import ResizableSemaphore


class Slots:
    """The slots of one queue.

    Args:
        count: the most tasks that run at once.
        window: the most tasks that wait for their time without a slot.
        taken: the number of slots that are in use already.
    """

    def __init__(self, count: int, window: int = 0, *, taken: int = 0) -> None:
        self.window = window
        self.waiting = 0
        self.free = ResizableSemaphore(count, taken)


class Slot:
    """The slot of one job, which it can give back while it waits.

    Args:
        slots: the slots of its queue.
    """

    __slots__ = ("_held", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._held = False

    def another(self) -> Slot:
        """Return a further slot of the same queue, which nobody holds yet."""
        return Slot(self._slots)

    @property
    def held(self) -> bool:
        """Whether the job holds its slot."""
        return self._held

    @property
    def comes_late(self) -> bool:
        """Whether the job takes its slot only when it may run."""
        return self._slots.window > 0

    @property
    def may_wait(self) -> bool:
        """Whether there is room for a further task that waits without a slot."""
        return self._slots.waiting < self._slots.window

    async def take(self) -> None:
        """Wait for a free slot, and hold it; a job that holds one keeps it."""
        if not self._held:
            await self._slots.free.acquire()
            self._held = True

    def give_back(self) -> None:
        """Give the slot back; without one, this does nothing."""
        if self._held:
            self._held = False
            self._slots.free.release()

    async def wait(self, seconds: float) -> None:
        """Give the slot back, and wait."""
        self.give_back()
        self._slots.waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._slots.waiting -= 1
