"""The options of schedules as keyword arguments, for type checkers and readers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

from stem_amqp.durations import Duration
from stem_amqp.schedules.schedule import Misfire, Policy
from stem_amqp.tasks.keywords import CallKeywords


class ScheduleKeywords(TypedDict, total=False):
    """The options of every schedule.

    args: the task's arguments by name; they are checked when the schedule is defined.
    options: options of each call, as for ``task.options(…)``: ``{"queue": "reports", "expires": "1h"}``.
    jitter: each run is later by up to this duration; the same tick always by the same time.
    start: no tick is earlier: an aware datetime, or an ISO 8601 text with an offset.
    end: no tick is later; as ``start``.
    misfire: what happens with ticks that passed while no scheduler ran: ``"skip"``, ``"once"`` (default: the
        latest one runs), ``"all"``, or a `Misfire`.
    enabled: whether it ticks; default: True.
    description: for people and tools.
    """

    args: Mapping[str, Any] | None
    options: CallKeywords | None
    jitter: Duration | None
    start: datetime | str | None
    end: datetime | str | None
    misfire: Misfire | Policy | Mapping[str, Any] | None
    enabled: bool
    description: str


class TimingKeywords(TypedDict, total=False):
    """When a schedule ticks: one of ``every``, ``cron`` and ``at``.

    every: an interval, such as ``"5m"``; it is elapsed time, whatever clocks show.
    anchor: one of the ticks of ``every``; default: ``start``, else 1970-01-01T00:00Z.
    cron: a cron line: minute, hour, day of the month, month, day of the week; or with the second in front.
    tz: the time zone of ``cron``, such as ``"Europe/Berlin"``; default: UTC.
    at: the one tick: an aware datetime, or an ISO 8601 text with an offset.
    """

    every: Duration | None
    anchor: datetime | str | None
    cron: str | None
    tz: str | None
    at: datetime | str | None


class DefinitionKeywords(TimingKeywords, ScheduleKeywords, total=False):
    """All options of ``stem.schedule(…)``: those of `TimingKeywords` and `ScheduleKeywords`."""
