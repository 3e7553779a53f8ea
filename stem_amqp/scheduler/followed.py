"""A schedule that a leader follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stem_amqp.schedule_store.base import ScheduleRecord
from stem_amqp.scheduler.decide import HORIZON
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.schedules import Schedule

RECHECK = 10.0
"""Seconds after which a stored schedule that is paused, or cannot be published, is looked at again."""


@dataclass(kw_only=True, slots=True)
class Followed:
    """A schedule that this term follows.

    Args:
        schedule: the schedule.
        print: its fingerprint.
        record: what is stored of it.
        state: its state, which is ahead of the stored one while the store does not answer.
        next: its earliest tick that is not published, seconds since the epoch; None without one, or while paused.
    """

    schedule: Schedule
    print: str
    record: ScheduleRecord
    state: ScheduleState | None
    next: float | None = None

    @property
    def stored(self) -> ScheduleRecord:
        """The record with the state that it has now."""
        state = self.record.state if self.state is None else self.state.encode()
        return replace(self.record, state=state)


def later(record: ScheduleRecord, now: float) -> float | None:
    """Return when to look at a stored schedule again that is not published; None for one of code."""
    return None if record.definition is None else now + HORIZON + RECHECK


def differs(before: ScheduleState | None, after: ScheduleState) -> bool:
    """Return whether a state must be stored; the end of a period without ticks need not."""
    return before is None or replace(after, last=before.last) != before
