"""Contract of result backends with `schedules`: what is stored of each schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore


def records(
    *names: str, definition: bytes | None = None, due: float | None = None
) -> list[ScheduleRecord]:
    """Return new records of these names."""
    return [ScheduleRecord(name=name, definition=definition, due=due) for name in names]


def names_of(found: Sequence[ScheduleRecord | None]) -> list[str | None]:
    """Return the names of records."""
    return [None if record is None else record.name for record in found]


class ScheduleSides:
    """Two stores with the same content, as in two processes.

    Args:
        first: a store, open.
        second: another one, open.
    """

    def __init__(self, first: ScheduleStore, second: ScheduleStore) -> None:
        self.first, self.second = first, second


class SchedulesContract:
    """Each change is made from the stored revision, or refused."""

    async def test_a_record_is_stored_for_all_processes(self, schedules: ScheduleSides) -> None:
        """All of its fields come back, with a revision."""
        given = ScheduleRecord(
            name="report ünter#1",
            definition=b'{"a": "\xc3\xbc"}',
            state=b'{"last": 1.5}',
            due=12.25,
        )
        (saved,) = await schedules.first.save([given])
        assert saved is not None
        assert saved.revision
        assert saved == replace(given, revision=saved.revision)
        assert await schedules.second.get(["none", given.name]) == [None, saved]

    async def test_a_definition_is_told_from_none(self, schedules: ScheduleSides) -> None:
        """A schedule of code has no definition and no due time, also after it had both."""
        (saved,) = await schedules.first.save(records("a", definition=b"{}", due=1.0))
        assert saved is not None
        (again,) = await schedules.first.save([replace(saved, definition=None, due=None)])
        assert again is not None
        assert await schedules.second.get(["a"]) == [again]
        assert (again.definition, again.due) == (None, None)
        assert await schedules.second.due(10.0) == []
        assert await schedules.second.page(dynamic=True) == []

    async def test_a_change_from_an_outdated_revision_is_refused(
        self, schedules: ScheduleSides
    ) -> None:
        """Of two changes from the same revision, the first one is stored; and nothing of the other one."""
        (saved,) = await schedules.first.save(records("a"))
        assert saved is not None
        (own,) = await schedules.first.save([replace(saved, state=b'{"by": 1}')])
        other, added = await schedules.second.save([replace(saved, due=5.0), *records("b")])
        assert (other, names_of([added])) == (None, ["b"])
        assert await schedules.second.get(["a"]) == [own]
        assert await schedules.second.due(10.0) == []

    async def test_a_record_is_added_once(self, schedules: ScheduleSides) -> None:
        """Of many processes that add a record at the same time, one is told that it did."""
        stores = [schedules.first, schedules.second] * 5
        found = await asyncio.gather(*(store.save(records("a")) for store in stores))
        assert sum(saved is not None for (saved,) in found) == 1

    async def test_a_removed_record_is_gone(self, schedules: ScheduleSides) -> None:
        """Only from its stored revision; and one that is added again is another one."""
        (saved,) = await schedules.first.save(records("a", definition=b"{}", due=1.0))
        assert saved is not None
        assert await schedules.second.remove([replace(saved, revision="0" * 16)]) == [False]
        assert await schedules.second.remove([*records("b"), saved]) == [False, True]
        assert await schedules.first.remove([saved]) == [False]
        assert await schedules.first.save([saved]) == [None]
        assert await schedules.first.get(["a"]) == [None]
        assert await schedules.first.page() == await schedules.first.due(10.0) == []
        (again,) = await schedules.first.save(records("a"))
        assert again is not None
        assert await schedules.first.save([saved]) == [None]

    async def test_pages_have_every_record_once(self, schedules: ScheduleSides) -> None:
        """In the order of their names, all of them, or only those of one kind."""
        code, own = [*(f"a{n}" for n in range(7)), "c"], [f"b{n:04}" for n in range(1203)]
        await schedules.first.save([*records(*code), *records(*own, definition=b"{}", due=9.0)])
        for dynamic, wanted in ((None, sorted(code + own)), (True, own), (False, code)):
            found: list[str] = []
            while page := await schedules.second.page(
                after=found[-1] if found else "", limit=500, dynamic=dynamic
            ):
                found += [record.name for record in page]
            assert found == wanted
        assert names_of(await schedules.second.page(limit=2)) == ["a0", "a1"]

    async def test_due_records_come_in_the_order_of_their_times(
        self, schedules: ScheduleSides
    ) -> None:
        """Those before the time, and no others."""
        for name, due in (("late", 30.0), ("b", 20.0), ("a", 20.0), ("early", 10.5)):
            await schedules.first.save(records(name, definition=b"{}", due=due))
        await schedules.first.save(records("never", definition=b"{}"))
        assert names_of(await schedules.second.due(30.0)) == ["early", "a", "b"]
        assert names_of(await schedules.second.due(30.5, limit=1)) == ["early"]
        (early,) = await schedules.second.due(11.0)
        await schedules.second.save([replace(early, due=40.0)])
        assert names_of(await schedules.first.due(100.0)) == ["a", "b", "late", "early"]

    async def test_empty_calls_do_nothing(self, schedules: ScheduleSides) -> None:
        """A leader without schedules asks for nothing."""
        store = schedules.first
        assert await store.get([]) == await store.save([]) == []
        assert await store.remove([]) == []
