"""Schedules in the memory of this process, for ``memory://``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from typing_extensions import override

from stem_amqp.schedule_store.base import PAGE, ScheduleRecord, ScheduleStore, new_revision


class MemorySchedules(ScheduleStore):
    """Schedules of one process; they end with it.

    Args:
        shelf: the records by name; stores with the same shelf share it.
    """

    def __init__(self, shelf: dict[str, ScheduleRecord]) -> None:
        self._shelf = shelf

    @override
    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    @override
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        return [self._shelf.get(name) for name in names]

    @override
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        return [self._save(record) for record in records]

    def _save(self, record: ScheduleRecord) -> ScheduleRecord | None:
        if not self._is_current(record):
            return None
        stored = self._shelf[record.name] = replace(record, revision=new_revision())
        return stored

    @override
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        return [self._remove(record) for record in records]

    def _remove(self, record: ScheduleRecord) -> bool:
        if not record.revision or not self._is_current(record):
            return False
        del self._shelf[record.name]
        return True

    def _is_current(self, record: ScheduleRecord) -> bool:
        stored = self._shelf.get(record.name)
        return record.revision == ("" if stored is None else stored.revision)

    @override
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        found = sorted(
            name
            for name, record in self._shelf.items()
            if name > after and (dynamic is None or dynamic == (record.definition is not None))
        )
        return [self._shelf[name] for name in found[:limit]]

    @override
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        found = [
            (record.due, name)
            for name, record in self._shelf.items()
            if record.due is not None and record.due < before
        ]
        return [self._shelf[name] for _, name in sorted(found)[:limit]]
