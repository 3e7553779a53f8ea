"""Runs of schedules that an operator has started: kept for the history, one record for each schedule.

It is not a part of the state that the leader writes, so that a run by hand never gets in the way of a publish.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import replace

import orjson

from stem_amqp.errors import BackendError, ConfigurationError
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.scheduler.definition import REMOVED
from stem_amqp.scheduler.state import KEPT, Published

log = logging.getLogger("stem_amqp.scheduler")

PREFIX = "$runs:"
"""Before the schedule's name: the name of the record; no schedule can have it."""
ATTEMPTS = 10
"""The most attempts to write a run while other processes write theirs."""


def runs_in(record: ScheduleRecord | None) -> tuple[Published, ...]:
    """Return the runs of a record, the oldest first; none of one that is no such record.

    Args:
        record: the record of the runs of a schedule; None if there is none.
    """
    try:
        runs = orjson.loads(b"{}" if record is None else record.state).get("runs", [])
        return tuple(
            Published(id=str(name), at=float(at), due=float(at), published=float(at))
            for name, at in runs
        )
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return ()


async def note_run(store: ScheduleStore, name: str, task_id: str, at: float) -> None:
    """Store that a schedule was run by hand; the log says if that fails, since the task is enqueued already.

    Args:
        store: the store of schedules.
        name: the schedule's name.
        task_id: the id of the run's task.
        at: when it was run, seconds since the epoch.
    """
    try:
        await store.open()
        if not await _note(store, name, task_id, at):
            log.warning(
                "the run of schedule %s by hand is not in its history: too many at once", name
            )
    except (BackendError, ConfigurationError) as error:
        log.warning("the run of schedule %s by hand is not in its history: %s", name, error)


async def _note(store: ScheduleStore, name: str, task_id: str, at: float) -> bool:
    for _ in range(ATTEMPTS):
        (stored,) = await store.get([f"{PREFIX}{name}"])
        runs = [[one.id, one.at] for one in runs_in(stored) if one.id != task_id]
        state = orjson.dumps({"runs": [*runs, [task_id, at]][-KEPT:]})
        record = stored or ScheduleRecord(name=f"{PREFIX}{name}")
        if (await store.save([replace(record, state=state)]))[0] is not None:
            return True
        await asyncio.sleep(random.uniform(0.005, 0.05))
    return False


async def forget_runs(
    store: ScheduleStore, records: Iterable[ScheduleRecord], defined: Iterable[str]
) -> None:
    """Remove the runs of schedules that are gone.

    Args:
        store: the store of schedules.
        records: the records of runs that are stored.
        defined: the names of the schedules of code and file.

    Raises:
        BackendUnavailableError: the store does not answer.
    """
    known = set(defined)
    runs = {name: one for one in records if (name := one.name.removeprefix(PREFIX)) not in known}
    if not runs:
        return
    made = {
        one.name
        for one in await store.get(list(runs))
        if one is not None and one.definition not in {None, REMOVED}
    }
    await store.remove([record for name, record in runs.items() if name not in made])
