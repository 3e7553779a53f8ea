"""What the result backend stores of schedules: how far each is published, and those that are made at run time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from stem_amqp.app import Stem
from stem_amqp.cli.session import store_of
from stem_amqp.errors import StemError
from stem_amqp.results.base import ResultBackend, TaskRecord
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.scheduler.definition import REMOVED
from stem_amqp.scheduler.sealing import Sealing
from stem_amqp.scheduler.state import Published, ScheduleState
from stem_amqp.schedules import Schedule
from stem_amqp.signing.source import seal_from

_AT_ONCE = 50
"""Records of tasks that are read at the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What is stored of schedules.

    Args:
        states: how far each is published, by name.
        last: the last tick of each that was due, with the record of its task if there is one.
        made: the schedules that are made at run time, by name.
        unreadable: why others of these cannot be read, by name.
        more: the number of further ones.
    """

    states: Mapping[str, ScheduleState] = field(default_factory=dict)
    last: Mapping[str, tuple[Published, TaskRecord | None]] = field(default_factory=dict)
    made: Mapping[str, Schedule] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    more: int = 0


def has_store(stem: Stem) -> bool:
    """Return whether the result backend keeps what another process can read."""
    url = stem.settings.backend_url.get_secret_value()
    return not url.startswith(("rpc:", "memory:"))


def is_glob(name: str) -> bool:
    """Return whether a name of the command line stands for several schedules."""
    return any(letter in name for letter in "*?[")


async def read_stored(stem: Stem, asked: Sequence[str], limit: int, now: float) -> Stored:
    """Read what is stored of an application's schedules.

    Args:
        stem: the application.
        asked: the names and globs that are asked for; none: all.
        limit: schedules that are made at run time, at most.
        now: seconds since the epoch.

    Raises:
        BackendError: the result backend does not answer.
    """
    async with store_of(stem) as backend:
        store = backend.schedules()
        if store is None:
            return Stored()
        await store.open()
        globs = [name for name in asked if is_glob(name)] if asked else ["*"]
        found, more = await _matching(store, globs, limit)
        names = {*stem.blueprint.schedules, *(name for name in asked if not is_glob(name))}
        named = [one for one in await store.get(sorted(names)) if one is not None]
        records = {one.name: one for one in (*named, *found)}
        stored = await _read(stem, backend, records, now)
        return replace(stored, more=more)


async def _read(
    stem: Stem, backend: ResultBackend, records: Mapping[str, ScheduleRecord], now: float
) -> Stored:
    sealing = Sealing(seal_from(stem.settings, stem.keys))
    made: dict[str, Schedule] = {}
    unreadable: dict[str, str] = {}
    for name, record in records.items():
        if record.definition is None or record.definition == REMOVED:
            continue
        try:
            made[name] = sealing.opened(record)
        except StemError as error:
            unreadable[name] = str(error)
    states = dict(_states(records.values()))
    return Stored(
        states=states,
        last=await _last(backend, states, now),
        made=made,
        unreadable=unreadable,
    )


async def _matching(
    store: ScheduleStore, globs: Sequence[str], limit: int
) -> tuple[list[ScheduleRecord], int]:
    """Return the first schedules made at run time whose names match a glob, and the number of the others."""
    found: list[ScheduleRecord] = []
    more, after = 0, ""
    while globs and (page := await store.page(after=after, dynamic=True)):
        after = page[-1].name
        some = [
            one
            for one in page
            if one.definition != REMOVED and any(fnmatchcase(one.name, glob) for glob in globs)
        ]
        room = limit - len(found)
        found += some[:room]
        more += len(some[room:])
    return found, more


def _states(records: Iterable[ScheduleRecord]) -> Iterator[tuple[str, ScheduleState]]:
    for record in records:
        state = ScheduleState.decode(record.state)
        if state is not None:
            yield record.name, state


async def _last(
    backend: ResultBackend, states: Mapping[str, ScheduleState], now: float
) -> dict[str, tuple[Published, TaskRecord | None]]:
    due = {
        name: [one for one in state.ticks if one.published and one.due <= now and not one.withdrawn]
        for name, state in states.items()
    }
    last = [(name, ticks[-1]) for name, ticks in due.items() if ticks]
    found: dict[str, tuple[Published, TaskRecord | None]] = {}
    for begin in range(0, len(last), _AT_ONCE):
        part = last[begin : begin + _AT_ONCE]
        records = await asyncio.gather(*(backend.get(tick.id) for _, tick in part))
        found |= {name: (tick, record) for (name, tick), record in zip(part, records, strict=True)}
    return found
