"""Schedules at run time: add, change, remove and list them, run one now, pause and resume, and their history."""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from typing_extensions import Unpack

from stem_amqp.errors import BackendError, ConfigurationError
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.scheduler.decide import next_at
from stem_amqp.scheduler.definition import REMOVED, fingerprint
from stem_amqp.scheduler.operated import Operated, unknown
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.schedules import (
    DefinitionKeywords,
    Every,
    Schedule,
    build_schedule,
    check_schedule_name,
    fitted,
    to_document,
)

log = logging.getLogger("stem_amqp.scheduler")

ATTEMPTS = 50
"""The most attempts of a change while the leader changes the same schedule."""
_TIMINGS = ("every", "cron", "at")
_OF_TIMINGS = (*_TIMINGS, "tz", "anchor")
_SUGGESTED = 1000
"""The most stored names that are read for a suggestion."""


class Schedules(Operated):
    """Schedules that are made and changed at run time; see `Stem.schedules`.

    They are stored in the result backend, and the scheduler publishes their ticks within a second.

    Args:
        blueprint: returns the application.
        connected: returns its connections.
    """

    async def add(self, name: str, task: str, **options: Unpack[DefinitionKeywords]) -> Schedule:
        """Add a schedule: ``await stem.schedules.add("reports.de", "report", cron="0 9 * * *")``.

        Args:
            name: its name, unique among all schedules.
            task: the task's name.
            **options: its timing and its other options; see `stem_amqp.schedules.keywords.DefinitionKeywords`.

        Returns:
            The schedule.

        Raises:
            ConfigurationError: an option cannot be used, the name is taken, or this result backend stores no
                schedules.
            ArgumentsError: the arguments do not fit the task.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        schedule = self._fitted(build_schedule(name, task, options))
        self._refuse_defined(name, "give the schedule another name")
        for _ in range(ATTEMPTS):
            (stored,) = await store.get([name])
            if stored is not None and stored.definition != REMOVED:
                raise ConfigurationError(
                    f"there is a schedule {name} already\n"
                    f'  Change it: await stem.schedules.change("{name}", …); or choose another name'
                )
            if await self._save(store, stored or ScheduleRecord(name=name), schedule):
                return schedule
            await _pause()
        raise _busy(name)

    async def change(self, name: str, **options: Unpack[DefinitionKeywords]) -> Schedule:
        """Change a schedule; what is not given stays, and None is the default. Its published ticks are withdrawn.

        Args:
            name: its name.
            **options: the new options, as for `add`; a timing replaces the former one. Another cron line keeps
                the time zone, and another interval the anchor. An option that is None gets its default:
                ``end=None`` removes the end.

        Returns:
            The changed schedule.

        Raises:
            ConfigurationError: an option cannot be used, or there is no such schedule.
            ArgumentsError: the arguments do not fit the task.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        for _ in range(ATTEMPTS):
            record = await self._stored(store, name)
            before = self._sealing.opened(record)
            given = {key: value for key, value in options.items() if value is not None}
            kept = _kept(before, given)
            task = kept.pop("task")
            after = self._fitted(build_schedule(name, task, {**kept, **options}))
            if await self._save(store, record, after):
                return after
            await _pause()
        raise _busy(name)

    async def remove(self, name: str) -> None:
        """Remove a schedule; its published ticks are withdrawn.

        Args:
            name: its name.

        Raises:
            ConfigurationError: there is no such schedule.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        for _ in range(ATTEMPTS):
            record = await self._stored(store, name)
            removed = replace(record, definition=REMOVED, due=self._now())
            if (await store.save([removed]))[0] is not None:
                await self._poke()
                return
            await _pause()
        raise _busy(name)

    async def get(self, name: str) -> Schedule | None:
        """Return a schedule that is stored; None if there is none of this name.

        Args:
            name: its name.

        Raises:
            ConfigurationError: it cannot be read, or this result backend stores no schedules.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        (record,) = await store.get([name])
        if record is None or record.definition is None or record.definition == REMOVED:
            return None
        return self._sealing.opened(record)

    async def list(
        self, *, after: str = "", limit: int = 1000, matching: str = "*"
    ) -> Sequence[Schedule]:
        """Return the stored schedules in the order of their names, one page of them.

        Args:
            after: begin after this name; the last one of the page before.
            limit: schedules at most. Fewer mean that there are no more.
            matching: only names that match this glob, such as ``reports.*``.

        Raises:
            ConfigurationError: one cannot be read, or this result backend stores no schedules.
            BackendError: the result backend does not answer.
        """
        store = await self._opened()
        found: builtins.list[Schedule] = []
        while len(found) < limit:
            page = await store.page(after=after, limit=limit - len(found), dynamic=True)
            if not page:
                break
            after = page[-1].name
            found += [
                self._sealing.opened(one)
                for one in page
                if one.definition != REMOVED and fnmatchcase(one.name, matching)
            ]
        return found

    async def __aiter__(self) -> AsyncIterator[Schedule]:
        after = ""
        while page := await self.list(after=after):
            for schedule in page:
                yield schedule
            after = page[-1].name

    async def _save(self, store: ScheduleStore, record: ScheduleRecord, schedule: Schedule) -> bool:
        now = self._now()
        state = ScheduleState.decode(record.state) if record.revision else None
        if state is None:
            state = ScheduleState(last=now, fingerprint=fingerprint(schedule))
            due = next_at(schedule, state)
        else:
            due = now  # the leader looks at what has changed
        changed = replace(
            record,
            definition=self._sealing.sealed(schedule),
            state=state.encode(),
            due=due,
        )
        if (await store.save([changed]))[0] is None:
            return False
        await self._poke()
        return True

    async def _stored(self, store: ScheduleStore, name: str) -> ScheduleRecord:
        (record,) = await store.get([name])
        if record is not None and record.definition not in {None, REMOVED}:
            return record
        self._refuse_defined(name, "change it there, and start the scheduler again")
        page = await store.page(limit=_SUGGESTED, dynamic=True)
        raise unknown(name, (one.name for one in page if one.definition != REMOVED))

    def _refuse_defined(self, name: str, remedy: str) -> None:
        if name in self._blueprint.schedules:
            raise ConfigurationError(
                f"code or the topology file defines the schedule {check_schedule_name(name)}: {remedy}"
            )

    def _fitted(self, schedule: Schedule) -> Schedule:
        return fitted(schedule, self._blueprint.registry)


def _kept(before: Schedule, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stays of a schedule.

    Args:
        before: the schedule.
        given: the options that change.
    """
    kept, timing = to_document(before), before.timing
    start = 0.0 if before.start is None else before.start.timestamp()
    if isinstance(timing, Every) and timing.anchor in {0.0, start}:
        del kept["anchor"]  # nobody gave it; it follows from the start
    if any(key in given and key not in kept for key in _TIMINGS):
        kept = {key: value for key, value in kept.items() if key not in _OF_TIMINGS}
    return kept


def _busy(name: str) -> BackendError:
    return BackendError(
        f"the schedule {name} was not changed: other processes changed it {ATTEMPTS} times meanwhile\n  Try again"
    )


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.005, 0.05))
