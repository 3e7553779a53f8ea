"""What to publish and to withdraw of one schedule at one moment: a pure function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from stem_amqp.scheduler.state import KEPT, Published, ScheduleState
from stem_amqp.schedules import Schedule, Tick, missed_ticks, next_ticks, ticks

HORIZON = 10.0
"""Seconds ahead of which ticks are published: they run in time while no scheduler leads."""
JUMP = 60.0
"""Seconds: a last tick that lies further ahead of the horizon was published by a wrong clock."""
MARGIN = 5.0
"""Seconds after the horizon in which another process may still publish a tick of the former schedule."""
IMMINENT = 2.0
"""Seconds: a tick that is due so soon is not withdrawn any more."""
COUNTED = 10_000
"""The most missed ticks that are counted at once."""
_JUST = 0.0005
"""Less than the distance of two ticks, which have milliseconds; in seconds."""
MOST_AT_ONCE = 1000
"""The most ticks of one schedule that are published at once; the next look publishes the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do for one schedule.

    Args:
        before: the state to begin with; ticks that are withdrawn count as such.
        state: the state after all of it is done.
        publish: the ticks to publish, the earliest first.
        withdraw: the ids of the published ticks that must not run.
        missed: ticks that passed without a scheduler and do not run.
    """

    before: ScheduleState
    state: ScheduleState
    publish: tuple[Published, ...] = ()
    withdraw: tuple[str, ...] = ()
    missed: int = 0

    def after(self, count: int, now: float) -> ScheduleState:
        """Return the state if only the first ticks could be published.

        Args:
            count: how many of them.
            now: when they were published, seconds since the epoch.
        """
        done = tuple(replace(one, published=round(now, 3)) for one in self.publish[:count])
        kept = (*self.before.ticks, *done)[-max(KEPT, len(self.publish)) :]
        if count == len(self.publish):
            return replace(self.state, ticks=kept)
        last = done[-1].at if done else self.before.last
        return replace(self.state, ticks=kept, last=last)


def decide(
    schedule: Schedule,
    state: ScheduleState | None,
    *,
    now: float,
    alive: float,
    fingerprint: str,
    paused: bool,
) -> Decision:
    """Return what to do for a schedule.

    Args:
        schedule: the schedule.
        state: what is stored of it; None if it is new.
        now: seconds since the epoch.
        alive: when a scheduler last led, at most now.
        fingerprint: identifies the schedule as it is now.
        paused: whether it is paused.
    """
    if state is None:
        state = ScheduleState(last=now, fingerprint=fingerprint)
    if state.last > now + HORIZON + JUMP + schedule.jitter:
        # published by a clock that was ahead; a tick that has run already does not run again
        state = replace(state, last=now)
    withdraw: tuple[str, ...] = ()
    if fingerprint != state.fingerprint or (paused and not state.paused):
        state, withdraw = _withdrawn(state, now, alive)
    if state.paused and not paused:
        state = replace(state, last=max(state.last, now))
    before = replace(state, fingerprint=fingerprint, paused=paused, gone=False)
    if paused or not schedule.enabled:
        return Decision(before=before, state=before, withdraw=withdraw)
    return _published(schedule, before, withdraw, now)


def next_at(schedule: Schedule, state: ScheduleState) -> float | None:
    """Return the time of the next tick that is not published, seconds since the epoch; None if there is none.

    Args:
        schedule: the schedule.
        state: how far it is published.
    """
    return next((tick.at for tick in next_ticks(schedule, state.last)), None)


def withdrawn(state: ScheduleState, now: float) -> tuple[ScheduleState, tuple[str, ...]]:
    """Return the state after the ticks that are not due soon were withdrawn, and their ids.

    Those that are due within `IMMINENT` run: a worker may have them already.

    Args:
        state: the state.
        now: seconds since the epoch.
    """
    ahead = [tick for tick in state.ahead(now) if tick.due > now + IMMINENT]
    ids = {tick.id for tick in ahead}
    latest = max((one.at for one in state.ticks), default=now)
    last = max(
        (one.at for one in state.ahead(now) if one.id not in ids), default=min(state.last, now)
    )
    if ahead:
        last = min(last, min(one.at for one in ahead) - _JUST)
    changed = replace(
        state,
        last=last,
        ticks=tuple(replace(one, withdrawn=True) if one.id in ids else one for one in state.ticks),
        revision=state.revision + 1,
        revised_until=max(latest, now + HORIZON) + MARGIN,
    )
    return changed, tuple(sorted(ids))


def removed(state: ScheduleState, now: float) -> tuple[ScheduleState, tuple[str, ...]]:
    """Return the state of a schedule that is gone, and the ids of its published ticks.

    It is kept for a while: if the schedule is added again, its ticks must not have the ids of those.

    Args:
        state: the state.
        now: seconds since the epoch.
    """
    changed, ids = withdrawn(state, now)
    return replace(changed, fingerprint="", gone=True), ids


def _withdrawn(
    state: ScheduleState, now: float, alive: float
) -> tuple[ScheduleState, tuple[str, ...]]:
    """Withdraw the ticks that are not due soon, and go back to where the former schedule ended."""
    state, ids = withdrawn(state, now)
    # ticks that the new schedule had before a scheduler looked are not missed
    return (state if ids else replace(state, last=max(state.last, min(alive, now)))), ids


def _published(
    schedule: Schedule, before: ScheduleState, withdraw: tuple[str, ...], now: float
) -> Decision:
    edge, until = now - schedule.misfire.grace, now + HORIZON
    late: list[Tick] = []
    passed = 0
    if before.last < edge:
        passed = sum(1 for _ in islice(ticks(schedule, before.last, edge), COUNTED))
        late = missed_ticks(schedule, before.last, now) if passed else []
    more = list(islice(ticks(schedule, max(before.last, edge), until), MOST_AT_ONCE))
    publish = tuple(_tick(before, tick) for tick in _new(before, [*late, *more]))
    missed = max(0, passed - len(late))
    complete = len(more) < MOST_AT_ONCE
    last = max([before.last, *(tick.at for tick in (*late, *more)[-1:])])
    if complete:
        # without a tick, the next look need not search the same period again
        last = max(last, edge)
    state = replace(
        before,
        last=last,
        missed=before.missed + missed,
        missed_at=edge if missed else before.missed_at,
    )
    return Decision(before=before, state=state, publish=publish, withdraw=withdraw, missed=missed)


def _new(state: ScheduleState, found: list[Tick]) -> Iterator[Tick]:
    """Yield the ticks that are not published already, each once."""
    seen = {one.at for one in state.ticks if not one.withdrawn and one.at > state.last}
    for tick in found:
        if tick.at not in seen:
            seen.add(tick.at)
            yield tick


def _tick(state: ScheduleState, tick: Tick) -> Published:
    return Published(id=state.id_of(tick.schedule, tick.at), at=tick.at, due=tick.due)
