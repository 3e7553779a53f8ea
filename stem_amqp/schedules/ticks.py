"""The ticks of a schedule: a pure function of the schedule and of the period that one asks for."""

from __future__ import annotations

from collections.abc import Iterator

from stem_amqp.schedules.schedule import Schedule, Tick

_MILLISECOND = 0.001
_JUST = 0.0005
"""Less than the distance of two ticks, which have milliseconds; in seconds."""


def ticks(schedule: Schedule, after: float, until: float) -> Iterator[Tick]:
    """Yield the ticks of a period: later than ``after``, at most ``until``.

    Periods that follow each other have each tick once. The time that the schedule names counts, without
    the jitter. A schedule that is not enabled has no ticks.

    Args:
        schedule: the schedule.
        after: seconds since the epoch.
        until: seconds since the epoch.
    """
    if not schedule.enabled:
        return
    if schedule.start is not None:
        after = max(after, schedule.start.timestamp() - _JUST)
    if schedule.end is not None:
        until = min(until, schedule.end.timestamp() + _JUST)
    at = schedule.timing.after(after)
    while at is not None and at <= until:
        yield schedule.tick(at)
        at = schedule.timing.after(at)


def next_ticks(schedule: Schedule, after: float, count: int = 1) -> list[Tick]:
    """Return the first ticks later than a moment, fewer if the schedule ends.

    Args:
        schedule: the schedule.
        after: seconds since the epoch.
        count: the most ticks to return.
    """
    found: list[Tick] = []
    for tick in ticks(schedule, after, float("inf")):
        if len(found) == count:
            break
        found.append(tick)
        if len(found) == count:
            break
    return found


def latest_ticks(schedule: Schedule, after: float, until: float, count: int = 1) -> list[Tick]:
    """Return the last ticks of a period, in order: later than ``after``, at most ``until``.

    Args:
        schedule: the schedule.
        after: seconds since the epoch.
        until: seconds since the epoch.
        count: the most ticks to return.
    """
    found: list[Tick] = []
    while len(found) < count and (tick := _latest(schedule, after, until)) is not None:
        found.append(tick)
        until = tick.at - _JUST
    return found[::-1]


def missed_ticks(schedule: Schedule, after: float, now: float) -> list[Tick]:
    """Return the ticks that run after a time without a scheduler, as the schedule's misfire policy says.

    Ticks from ``now`` minus the policy's grace on are not missed and not returned: `ticks` has them.

    Args:
        schedule: the schedule.
        after: the last tick that was published, in seconds since the epoch.
        now: the current time, in seconds since the epoch.
    """
    misfire = schedule.misfire
    if misfire.policy == "skip":
        return []
    count = 1 if misfire.policy == "once" else misfire.limit
    return latest_ticks(schedule, after, now - misfire.grace, count)


def _latest(schedule: Schedule, after: float, until: float) -> Tick | None:
    """Return the last tick of a period by bisection: no timing can be asked for the tick before a moment."""

    def first(low: float) -> Tick | None:
        return next(ticks(schedule, low, until), None)

    found = first(after)
    if found is None:
        return None
    low, high = found.at, until  # a tick is at `low`, and none is later than `high`
    while high - low >= _MILLISECOND:
        middle = (low + high) / 2
        later = first(middle)
        if later is None:
            high = middle
        else:
            found, low = later, later.at
    # `middle` may have missed a tick in the last millisecond
    return first(found.at) or found
