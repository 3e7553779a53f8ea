"""A semaphore whose size can change while it is in use."""

from __future__ import annotations

import asyncio
from collections import deque


class ResizableSemaphore:
    """A semaphore whose size can change while it is in use.

    Args:
        size: the number of slots.
        taken: the number of slots that are in use already.
    """

    def __init__(self, size: int, taken: int = 0) -> None:
        self._size = size
        self._taken = taken
        self._waiting: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Return whether no slot is free."""
        return self._taken >= self._size

    async def acquire(self) -> None:
        """Wait for a free slot, and take it; slots are given in the order of the calls."""
        if self._taken < self._size and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given a slot in the same turn of the event loop
            elif turn in self._waiting:  # else a release in the same turn has removed it
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._taken -= 1
        self._pass_on()

    def resize(self, size: int) -> None:
        """Change the number of slots; those in use beyond it are not given again.

        Args:
            size: the new number.
        """
        self._size = size
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting and self._taken < self._size:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
