"""Whether schedules tick: what is late now, what was missed, and whether the leader looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stem_amqp.app import Stem
from stem_amqp.clock import timestamp
from stem_amqp.durations import format_seconds
from stem_amqp.results.factory import create_from
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.scheduler.decide import next_at
from stem_amqp.scheduler.definition import REMOVED, fingerprint
from stem_amqp.scheduler.lead import LEADER, Leader
from stem_amqp.scheduler.process import store_of
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.schedules import Schedule
from stem_amqp.text import count
from stem_amqp.transport.base import Transport

LATE = 20.0
"""Seconds after which a tick that is not published counts as late; the leader publishes 10 s ahead."""
SILENT = 40.0
"""Seconds without a look after which a leader counts as standing still; it writes down a look every 10 s."""
MISSED = 86_400.0
"""Seconds for which missed ticks are reported."""
NAMED = 5
"""The most schedules of each problem that are named."""
BATCH = 500


async def problems(app: Stem, transport: Transport, *, schedulers: int) -> list[str]:
    """Return what is wrong with the ticks, each with its remedy; nothing where the store cannot be read by others.

    Args:
        app: the application.
        transport: connected.
        schedulers: the number of schedulers that run.

    Raises:
        BackendError: the store cannot be reached.
        ConfigurationError: a schedule cannot be used.
    """
    settings = app.settings
    backend = create_from(settings, transport, app.names)
    store = store_of(settings, backend)
    if store is None:
        return []
    await backend.open()
    try:
        await store.open()
        return await _problems(store, app.blueprint.schedules, transport.clock.time(), schedulers)
    finally:
        await backend.close()


async def _problems(
    store: ScheduleStore, schedules: Mapping[str, Schedule], now: float, schedulers: int
) -> list[str]:
    found = []
    (record,) = await store.get([LEADER])
    leader = Leader.read(record)
    looks = leader is not None and now - leader.alive <= SILENT
    if schedulers and leader is not None and not looks:
        found.append(
            f"the leader {leader.name} has not looked at the schedules for {format_seconds(round(now - leader.alive))}:"
            " it publishes nothing\n"
            "  Read its log, or stop it: the next scheduler then leads at once"
        )
    if schedulers and leader is not None and looks and leader.failing:
        why = [f"{name}: {' '.join(text.split())}" for name, text in leader.failing.items()]
        found.append(f"not published, and tried again: {_listed(why, leader.more)}")
    late, missed = await _of_code(store, schedules, now)
    late += await _of_store(store, now)
    if late:
        found.append(
            f"late, not published yet: {_listed(late)}\n"
            "  The log of the leader says why; a scheduler that leads publishes them"
        )
    if missed:
        found.append(
            f"missed within the last day, and did not run: {_listed(missed)}\n"
            "  No scheduler published at their times. stem-amqp schedules run NAME enqueues the task now"
        )
    return found


async def _of_code(
    store: ScheduleStore, schedules: Mapping[str, Schedule], now: float
) -> tuple[list[str], list[str]]:
    """Return the late and the missed ticks of schedules in code and file, each with its schedule."""
    late, missed = list[str](), list[str]()
    names = sorted(schedules)
    for first in range(0, len(names), BATCH):
        some = names[first : first + BATCH]
        for name, record in zip(some, await store.get(some), strict=True):
            state = None if record is None else ScheduleState.decode(record.state)
            if state is None:
                continue  # no scheduler has seen it yet
            late += _late(schedules[name], state, now)
            if state.missed and now - state.missed_at < MISSED:
                missed.append(f"{name}, {count(state.missed, 'tick')} since it exists")
    return late, missed


def _late(schedule: Schedule, state: ScheduleState, now: float) -> Iterator[str]:
    # the leader may know another version of the schedule
    if state.paused or state.gone or state.fingerprint != fingerprint(schedule):
        return
    at = next_at(schedule, state)
    if at is not None and at < now - LATE:
        yield f"{schedule.name} of {timestamp(at)}"


async def _of_store(store: ScheduleStore, now: float) -> list[str]:
    if not store.keeps_definitions:
        return []
    due = await store.due(now - LATE, limit=BATCH)
    return [
        f"{one.name} of {timestamp(one.due)}"
        for one in due
        if one.due is not None and one.definition != REMOVED
    ]


def _listed(texts: list[str], others: int = 0) -> str:
    more = max(0, len(texts) - NAMED) + others
    return "; ".join(texts[:NAMED]) + (f"; and {more} more" if more > 0 else "")
