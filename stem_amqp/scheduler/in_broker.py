"""States of schedules in RabbitMQ, for result backends that cannot keep them: one document that the leader holds.

It has the schedules of code and file only; the document of the highest number holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson
from typing_extensions import override

from stem_amqp.errors import ConfigurationError
from stem_amqp.schedule_store.base import PAGE, ScheduleRecord, ScheduleStore, new_revision
from stem_amqp.scheduler.leadership import Leadership


class BrokerSchedules(ScheduleStore):
    """Keeps the states in the messages that the leader holds.

    Args:
        leadership: this process's part in the election.
    """

    keeps_definitions = False

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._number = 0
        self._records: dict[str, ScheduleRecord] = {}

    @override
    async def open(self) -> None:
        """Read the documents that the leader holds."""
        self._number, self._records = 0, {}
        for body in self._leadership.documents():
            number, records = _read(body)
            if number > self._number:
                self._number, self._records = number, records

    @override
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        return [self._records.get(name) for name in names]

    @override
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        changed, saved = dict(self._records), list[ScheduleRecord | None]()
        for record in records:
            if record.definition is not None:
                raise no_definitions()
            stored = changed.get(record.name)
            if record.revision != ("" if stored is None else stored.revision):
                saved.append(None)
                continue
            changed[record.name] = replace(record, due=None, revision=new_revision())
            saved.append(changed[record.name])
        if any(saved):
            await self._keep(changed)
        return saved

    @override
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        changed, removed = dict(self._records), list[bool]()
        for record in records:
            stored = changed.get(record.name)
            found = stored is not None and stored.revision == record.revision
            removed.append(found)
            if found:
                del changed[record.name]
        if any(removed):
            await self._keep(changed)
        return removed

    @override
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        if dynamic:
            return []
        names = sorted(name for name in self._records if name > after)
        return [self._records[name] for name in names[:limit]]

    @override
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        """Return nothing: only schedules that are made at run time have a due time in a store."""
        return []

    async def _keep(self, records: dict[str, ScheduleRecord]) -> None:
        document = {
            "number": self._number + 1,
            "records": {name: one.state.decode() for name, one in records.items()},
        }
        await self._leadership.keep(orjson.dumps(document))
        self._number, self._records = self._number + 1, records


def no_definitions() -> ConfigurationError:
    """Return the error for schedules at run time without a store."""
    return ConfigurationError(
        "schedules that are made at run time need a result backend that stores them, which this one does not.\n"
        "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for the scheduler and here"
        " (memory:// for tests); or define the schedule in code or in the topology file."
    )


def _read(body: bytes) -> tuple[int, dict[str, ScheduleRecord]]:
    """Return the number and the records of a document; 0 and none if it is not one."""
    try:
        data = orjson.loads(body)
        number = int(data.get("number", 0))
        states = data.get("records", {}).items()
        return number, {
            name: ScheduleRecord(name=name, state=state.encode(), revision=new_revision())
            for name, state in states
        }
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return 0, {}
