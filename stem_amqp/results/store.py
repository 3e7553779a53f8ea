"""Task records in memory, with a TTL and an optional limit."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from stem_amqp.results.base import ProgressUpdate, TaskRecord, Transition
from stem_amqp.results.listing import Position, TaskQuery, position_of
from stem_amqp.results.records import PURGE_INTERVAL, changed


class RecordStore:
    """Task records in memory.

    Args:
        limit: records at most; the least recently used one is dropped. None: any number.
        on_dropped: called with each record that is dropped for the limit.
    """

    def __init__(
        self, limit: int | None = None, on_dropped: Callable[[TaskRecord], None] | None = None
    ) -> None:
        self.listeners: dict[object, Callable[[TaskRecord], None]] = {}
        """Functions that are called with the record of each task that ends, by their owner."""
        self._limit = limit
        self._on_dropped = on_dropped
        self._records: OrderedDict[str, tuple[TaskRecord, float]] = OrderedDict()
        self._purged_at = 0.0

    def __len__(self) -> int:
        return len(self._records)

    def apply(self, change: Transition, now: float) -> bool:
        """Apply a change, and call the listeners if it ends the task.

        Args:
            change: the change.
            now: seconds since the epoch.

        Returns:
            Whether it was accepted.
        """
        if now - self._purged_at >= PURGE_INTERVAL:
            self.purge(now)
        record = changed(self.get(change.task_id, now), change)
        if record is None:
            return False
        self._keep(record, now + change.ttl)
        if record.state.final:
            for listener in list(self.listeners.values()):
                listener(record)
        return True

    def progress(self, update: ProgressUpdate, now: float) -> None:
        """Store progress; progress of a task that is unknown or has ended is ignored."""
        record = self.get(update.task_id, now)
        if record is not None and not record.state.final:
            self._keep(replace(record, progress=update.progress), now + update.ttl)

    def get(self, task_id: str, now: float) -> TaskRecord | None:
        """Return a record, or None if there is none (any more)."""
        record, expires = self._records.get(task_id, (None, 0.0))
        if record is None or expires <= now:
            return None
        self._records.move_to_end(task_id)
        return record

    def find(
        self, query: TaskQuery, after: Position | None, limit: int, now: float
    ) -> list[TaskRecord]:
        """Return the first records that match a query after a position, in the query's order."""
        found = (
            record
            for record, expires in self._records.values()
            if expires > now
            and (after is None or query.follows(record, after))
            and query.matches(record)
        )
        first = heapq.nsmallest if query.oldest_first else heapq.nlargest
        return first(limit, found, key=position_of)

    def purge(self, now: float) -> int:
        """Remove the expired records, and return their number."""
        self._purged_at = now
        expired = [task_id for task_id, (_, end) in self._records.items() if end <= now]
        for task_id in expired:
            del self._records[task_id]
        return len(expired)

    def _keep(self, record: TaskRecord, expires: float) -> None:
        self._records[record.task_id] = (record, expires)
        self._records.move_to_end(record.task_id)
        if self._limit is not None and len(self._records) > self._limit:
            _, (dropped, _) = self._records.popitem(last=False)
            if self._on_dropped is not None:
                self._on_dropped(dropped)
