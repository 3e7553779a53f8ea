"""The rules of limits: when a start is allowed, and when a token that must wait asks again.

They are written three times, since a store decides in one round trip: here, for the memory and SQLite, as a
script for Redis and as a function for PostgreSQL. ``stem_amqp.testing.limit_contract`` tests all of them.

**Rates** follow the generic cell rate algorithm (ITU-T I.371), with reservation. The theoretical arrival time
``arrival`` of a limit is the time of its next start. A start takes it, and moves it on by one interval; so does
a start that must wait, which thereby has its time. Beyond the horizon no start is reserved: such tokens form a
queue, of which only the end is kept (``overflow``), and come back half a horizon before their turn. A token that
has waited goes before new ones, and never back to the end.

**Concurrency** is counted in leases. When all are held, nobody knows when the next one ends. So the tokens that
wait ask in turns: each is told a time, one ``spacing`` after the one before it (``queue`` is the last of these
times). The spacing is a fraction of the mean time between two ends, and at most half a second: however many
wait, somebody asks soon after a lease has ended, and there are few asks in vain. A new token goes behind those
that wait, as long as these come back (``alive``): those of revoked messages do not.

**Several limits**: all leases and all starts must be there at the same time. A token without a lease takes
nothing of any rate. Of several rates the token waits for the one with the latest start, which is reserved for
it alone; then it asks for the others, and keeps what it has reserved until it starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from stem_amqp.limits.base import (
    GRACE,
    HORIZON,
    MAXIMUM_WAIT,
    MINIMUM_WAIT,
    Ask,
    Lease,
    Usage,
    Verdict,
    Wanted,
)

LONGEST_SPACING = 0.5
"""Seconds between two asks of tokens that wait for a lease, at most."""
SHORTEST_SPACING = 0.001
ASKS_OF_A_RUN = 5.0
"""Asks in the time of one run, at least: a lease that has ended lies idle for a fifth of a run at most."""
ASKS_OF_AN_END = 1.2
"""Asks for each lease that ends, at least."""
FIRST_DURATION = 1.0
"""The duration of a run, in seconds, before one has ended and without a hint."""
PATIENCE = 1.5
"""Seconds that a token may be late for its ask before new tokens stop waiting for it."""
LEAST_INTERVALS = 3.0
"""The horizon of a slow rate: starts that may be reserved, at least."""
GAP = 0.25
"""The part of the horizon that new tokens may fill although others wait beyond it: these left gaps."""
SMOOTHING = 0.2
"""The weight of the last run in the mean duration."""
IDLE_TTL = 600.0
"""Seconds for which the mean duration of an unused limit is kept."""


@dataclass(slots=True)
class LimitState:
    """What is stored of a limit besides leases and starts. Times are seconds since the epoch.

    Args:
        arrival: the time of the next start that is not reserved.
        overflow: the end of the queue beyond the horizon.
        interval: seconds between two starts; 0 without a rate.
        queue: the last time at which a token is told to ask for a lease.
        spacing: seconds between two such times.
        alive: until when new tokens let those that wait go first.
        mean: the mean duration of runs in seconds; 0 if none has ended.
        expires: after this time, a new state says the same.
    """

    arrival: float = 0.0
    overflow: float = 0.0
    interval: float = 0.0
    queue: float = 0.0
    spacing: float = 0.0
    alive: float = 0.0
    mean: float = 0.0
    expires: float = 0.0

    def used(self, now: float) -> None:
        """Set the expiry after a change."""
        kept = now + IDLE_TTL if self.mean > 0 else now
        self.expires = max(self.arrival, self.overflow, self.queue, kept)

    def ended(self, duration: float) -> None:
        """Count a run in the mean duration."""
        weight = SMOOTHING if self.mean > 0 else 1.0
        # Not 0, which says that no run has ended
        self.mean = max(self.mean + (max(duration, 0.0) - self.mean) * weight, 0.000001)

    def usage(self, key: str, running: int, now: float) -> Usage:
        """Return what operators see of it."""
        by_rate = max(self.arrival, self.overflow) - now
        by_lease = self.queue - now if now < self.alive else 0.0
        waiting = max(
            # The last interval is that of the start before
            math.ceil(by_rate / self.interval - 1e-6) - 1 if self.interval > 0 else 0,
            round(by_lease / self.spacing) if self.spacing > 0 else 0,
            0,
        )
        return Usage(
            key=key,
            running=running,
            backlog=max(by_rate, 0.0) if self.interval > 0 else 0.0,
            waiting=waiting,
            mean_duration=self.mean if self.mean > 0 else None,
        )


class Shelf(Protocol):
    """Where a store keeps its state; only what has not expired is returned."""

    def state(self, key: str) -> LimitState:
        """Return the state of a limit, a new one if there is none; it is changed in place."""
        ...

    def start(self, key: str, token: str) -> float | None:
        """Return the start that a token has in a limit."""
        ...

    def keep_start(self, key: str, token: str, at: float, expires: float) -> None:
        """Keep the start of a token in a limit."""
        ...

    def running(self, key: str) -> int:
        """Return the number of leases."""
        ...

    def leased(self, key: str, token: str) -> bool:
        """Return whether a token holds a lease."""
        ...

    def keep_lease(self, key: str, token: str, expires: float) -> None:
        """Keep or extend the lease of a token."""
        ...


def _is_only_rate(ask: Ask) -> bool:
    """Return whether a reserved start is all that an ask wants."""
    return len(ask.wants) == 1 and ask.wants[0].concurrency is None


class Decider:
    """Decides asks one after the other.

    Args:
        shelf: the state.
        now: seconds since the epoch by the store's clock.
        lease_ttl: seconds for which leases are granted.
    """

    def __init__(self, shelf: Shelf, now: float, lease_ttl: float) -> None:
        self._shelf = shelf
        self._now = now
        self._lease_ttl = lease_ttl

    def decide(self, ask: Ask) -> Verdict:
        """Decide one ask: take from all its limits, or from none but the one that it waits for."""
        held = {
            wanted.key: at
            for wanted in ask.wants
            if wanted.rate is not None
            and (at := self._shelf.start(wanted.key, ask.token)) is not None
        }
        full = [wanted for wanted in ask.wants if not self._has_room(wanted, ask)]
        if full:
            return self._queued(ask, full, held)
        starts = {
            wanted.key: held.get(wanted.key, self._earliest(wanted))
            for wanted in ask.wants
            if wanted.rate is not None
        }
        latest = max(starts, key=starts.__getitem__, default=None)
        if latest is None or starts[latest] <= self._now:
            return self._granted(ask, held)
        if latest in held:
            return self._waiting(ask, held, starts[latest], latest, final=_is_only_rate(ask))
        (wanted,) = (wanted for wanted in ask.wants if wanted.key == latest)
        return self._reserved(ask, wanted, held, starts[latest])

    def _has_room(self, wanted: Wanted, ask: Ask) -> bool:
        if wanted.concurrency is None or self._shelf.leased(wanted.key, ask.token):
            return True
        state = self._shelf.state(wanted.key)
        if ask.waited and state.queue > self._now:
            state.alive = max(state.alive, self._now + state.spacing + PATIENCE)
        elif state.queue > self._now and state.alive > self._now:
            return False
        return self._shelf.running(wanted.key) < wanted.concurrency

    def _queued(self, ask: Ask, full: list[Wanted], held: Mapping[str, float]) -> Verdict:
        turns = {wanted.key: self._next_turn(wanted, ask) for wanted in full}
        key = max(turns, key=turns.__getitem__)
        state, turn = self._shelf.state(key), turns[key]
        if state.queue <= self._now or state.alive <= self._now:
            state.alive = turn + PATIENCE
        state.queue = turn
        return self._waiting(ask, held, min(turn, self._now + MAXIMUM_WAIT), key)

    def _next_turn(self, wanted: Wanted, ask: Ask) -> float:
        """Return the time of the next ask for a lease of a limit; see the module."""
        state = self._shelf.state(wanted.key)
        concurrency = wanted.concurrency or 1
        mean = state.mean or ask.duration_hint or FIRST_DURATION
        spacing = mean / max(ASKS_OF_A_RUN, ASKS_OF_AN_END * concurrency)
        state.spacing = min(max(spacing, SHORTEST_SPACING), LONGEST_SPACING)
        last = state.queue if state.alive > self._now else 0.0
        return max(last + state.spacing, self._now + max(state.spacing, MINIMUM_WAIT))

    def _earliest(self, wanted: Wanted) -> float:
        tolerance = (wanted.burst - 1) * wanted.interval
        return max(self._now, self._shelf.state(wanted.key).arrival - tolerance)

    def _granted(self, ask: Ask, held: Mapping[str, float]) -> Verdict:
        keys = tuple(wanted.key for wanted in ask.wants if wanted.concurrency is not None)
        for wanted in ask.wants:
            if wanted.rate is not None and wanted.key not in held:
                self._take(wanted, ask.token, self._now)
            if wanted.concurrency is not None:
                self._shelf.keep_lease(wanted.key, ask.token, self._now + self._lease_ttl)
        lease = Lease(token=ask.token, keys=keys, at=self._now) if keys else None
        return Verdict(wait=0.0, at=self._now, reserved=True, lease=lease)

    def _take(self, wanted: Wanted, token: str, at: float) -> None:
        state = self._shelf.state(wanted.key)
        state.interval = wanted.interval
        state.arrival = max(state.arrival, self._now) + wanted.interval
        self._shelf.keep_start(wanted.key, token, at, at + GRACE)

    def _reserved(
        self, ask: Ask, wanted: Wanted, held: Mapping[str, float], start: float
    ) -> Verdict:
        state, ahead = self._shelf.state(wanted.key), start - self._now
        horizon = max(HORIZON, LEAST_INTERVALS * wanted.interval)
        first = ask.waited or state.overflow <= state.arrival or ahead <= GAP * horizon
        if first and ahead <= horizon:
            self._take(wanted, ask.token, start)
            return self._waiting(ask, held, start, wanted.key, final=_is_only_rate(ask))
        state.interval = wanted.interval
        if not ask.waited:
            state.overflow = max(state.overflow, state.arrival) + wanted.interval
            ahead = state.overflow - self._now
        wait = min(max(ahead - horizon / 2, MINIMUM_WAIT), MAXIMUM_WAIT)
        return self._waiting(ask, held, self._now + wait, wanted.key)

    def _waiting(
        self, ask: Ask, held: Mapping[str, float], at: float, key: str, *, final: bool = False
    ) -> Verdict:
        for other, start in held.items():
            self._shelf.keep_start(other, ask.token, start, max(start, at) + GRACE)
        return Verdict(wait=at - self._now, at=at, reserved=final, key=key)
