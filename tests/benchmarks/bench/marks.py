"""When each task ran: a slot of shared memory a task, which its worker writes."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

_SLOT = 8


class Marks:
    """Times of tasks in a mapped file, in seconds since the epoch; 0 where there is none yet.

    Writing one costs well under a microsecond and no lock, whatever the framework and however
    many threads and processes it runs the tasks in.

    Args:
        path: the file, made with `create`.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.slots: memoryview[float] = memoryview(self._map).cast("d")
        self._seen = 0

    @classmethod
    def create(cls, path: str, slots: int) -> Marks:
        """Make the file with so many slots, all empty."""
        Path(path).write_bytes(bytes(slots * _SLOT))
        return cls(path)

    def put(self, number: int) -> None:
        """Note that this task runs now."""
        self.slots[number] = time.time()

    def reached(self, count: int, start: int = 0) -> bool:
        """Say whether the slots from ``start`` on, ``count`` of them, are all filled."""
        position = max(self._seen, start)
        while position < start + count and self.slots[position]:
            position += 1
        self._seen = position
        return position == start + count

    def filled(self) -> int:
        """Return how many slots are filled."""
        return len(self.slots) - self.slots.tolist().count(0.0)

    def clear(self) -> None:
        """Empty every slot."""
        self._map[:] = bytes(len(self._map))
        self._seen = 0

    def times(self, count: int, start: int = 0) -> list[float]:
        """Return the times of ``count`` slots from ``start`` on."""
        return self.slots[start : start + count].tolist()
