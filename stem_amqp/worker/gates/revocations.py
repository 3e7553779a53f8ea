"""The ids of recently revoked tasks."""

from __future__ import annotations

from collections import OrderedDict

CAPACITY = 100_000
"""The maximum number of ids; the oldest are removed first."""
BYTES = 16 * 1024 * 1024
"""The maximum number of bytes of ids and reasons; the oldest are removed first."""


class Revocations:
    """The revocations that this worker has received.

    Args:
        capacity: the maximum number of ids.
        most: the maximum number of bytes of ids and reasons.
    """

    def __init__(self, capacity: int = CAPACITY, most: int = BYTES) -> None:
        self._capacity = capacity
        self._most = most
        self._bytes = 0
        self._reasons: OrderedDict[str, str] = OrderedDict()

    def add(self, task_id: str, reason: str) -> None:
        """Store that a task is revoked."""
        self._drop(task_id)
        self._reasons[task_id] = reason
        self._bytes += _size(task_id, reason)
        while len(self._reasons) > self._capacity or self._bytes > self._most:
            self._drop(next(iter(self._reasons)))

    def reason(self, task_id: str) -> str | None:
        """Return why a task was revoked, or None if it was not."""
        return self._reasons.get(task_id) if self._reasons else None

    def _drop(self, task_id: str) -> None:
        reason = self._reasons.pop(task_id, None)
        if reason is not None:
            self._bytes -= _size(task_id, reason)

    def __len__(self) -> int:
        return len(self._reasons)


def _size(task_id: str, reason: str) -> int:
    return 4 * (len(task_id) + len(reason))
