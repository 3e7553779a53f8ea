"""Ids of revoked tasks, remembered for a while."""

from __future__ import annotations

from collections import OrderedDict

CAPACITY = 100_000
"""Ids at most; the oldest are forgotten first."""


class Revocations:
    """Which tasks were revoked, as far as this worker has heard."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[str, str] = OrderedDict()

    def add(self, task_id: str, reason: str) -> None:
        """Remember a task as revoked."""
        self._reasons[task_id] = reason
        self._reasons.move_to_end(task_id)
        while len(self._reasons) > CAPACITY:
            self._reasons.popitem(last=False)

    def reason(self, task_id: str) -> str | None:
        """Return why a task was revoked, or None if it was not."""
        return self._reasons.get(task_id) if self._reasons else None

    def __len__(self) -> int:
        return len(self._reasons)
