"""The state of a breaker that is not closed, as workers share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from stem_amqp.breakers.breaker import Breaker

FORGOTTEN_AFTER = 3600.0
"""Seconds after the end of a pause in which a worker must try a run; after that, the breaker is closed."""


class State(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    """Tasks run."""
    HALF_OPEN = "half-open"
    """One worker tries one run."""
    OPEN = "open"
    """No task runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """A breaker that is open, or tried.

    Args:
        state: open or half-open.
        until: when the pause ends, seconds since the epoch.
        trips: how often it has opened since it was last closed, at least 1.
    """

    state: State
    until: float
    trips: int = 1

    @classmethod
    def begin(cls, breaker: Breaker, now: float, before: Opening | None = None) -> Self:
        """Return the state of a breaker that opens.

        Args:
            breaker: what it allows.
            now: seconds since the epoch.
            before: its state before; None if it was closed.
        """
        trips = 1 if before is None else before.trips + 1
        return cls(state=State.OPEN, until=now + breaker.pause_after(trips), trips=trips)

    def tried(self) -> Self:
        """Return the state while one run is tried."""
        return replace(self, state=State.HALF_OPEN)

    @property
    def expires(self) -> float:
        """When it is forgotten, because no worker tried a run, seconds since the epoch."""
        return self.until + FORGOTTEN_AFTER

    def fields(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"state": self.state.value, "until": round(self.until, 3), "trips": self.trips}

    @classmethod
    def read(cls, value: object) -> Self | None:
        """Read it from JSON values; None if they are something else.

        Args:
            value: the JSON values.
        """
        if not isinstance(value, Mapping):
            return None
        state, until, trips = (value.get(name) for name in ("state", "until", "trips"))
        if state not in {State.OPEN, State.HALF_OPEN} or not isinstance(until, int | float):
            return None
        if isinstance(trips, bool) or not isinstance(trips, int) or trips < 1:
            return None
        return cls(state=State(state), until=float(until), trips=trips)
