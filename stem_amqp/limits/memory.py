"""Limits in the memory of this process, for ``memory://``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.limits.base import LEASE_TTL, Ask, Lease, LimitStore, Usage, Verdict
from stem_amqp.limits.decide import Decider, LimitState

_SWEEP_INTERVAL = 10.0
"""Seconds between two removals of what has expired."""


@dataclass(slots=True)
class MemoryShelf:
    """The state of all limits; stores with the same shelf share it.

    Args:
        now: seconds since the epoch, set before each use.
    """

    now: float = 0.0
    states: dict[str, LimitState] = field(default_factory=dict)
    starts: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """Start and expiry, by limit and token."""
    leases: dict[str, dict[str, float]] = field(default_factory=dict)
    """Expiry by token, by limit."""
    swept_at: float = 0.0

    def state(self, key: str) -> LimitState:
        """Return the state of a limit."""
        found = self.states.get(key)
        if found is None or found.expires <= self.now:
            # A state that is used now expires later, see `MemoryLimits`
            found = self.states[key] = LimitState(expires=math.inf)
        return found

    def start(self, key: str, token: str) -> float | None:
        """Return the start that a token has in a limit."""
        at, expires = self.starts.get((key, token), (0.0, 0.0))
        return at if expires > self.now else None

    def keep_start(self, key: str, token: str, at: float, expires: float) -> None:
        """Keep the start of a token in a limit."""
        self.starts[key, token] = (at, expires)

    def running(self, key: str) -> int:
        """Return the number of leases."""
        return len(self._live(key))

    def leased(self, key: str, token: str) -> bool:
        """Return whether a token holds a lease."""
        return token in self._live(key)

    def keep_lease(self, key: str, token: str, expires: float) -> None:
        """Keep or extend the lease of a token."""
        self.leases.setdefault(key, {})[token] = expires

    def drop_lease(self, key: str, token: str) -> bool:
        """Remove the lease of a token, and return whether it was held."""
        return self.leases.get(key, {}).pop(token, 0.0) > self.now

    def used(self, keys: Iterable[str]) -> None:
        """Set the expiry of the states that were used."""
        for key in keys:
            state = self.states.get(key)
            if state is not None:
                state.used(self.now)

    def in_use(self) -> set[str]:
        """Return the limits in use."""
        self.sweep()
        return self.states.keys() | self.leases.keys()

    def sweep(self) -> None:
        """Remove what has expired."""
        self.swept_at = now = self.now
        for key in list(self.leases):
            if not self._live(key):
                del self.leases[key]
        for key in [key for key, state in self.states.items() if state.expires <= now]:
            del self.states[key]
        for pair in [pair for pair, (_, expires) in self.starts.items() if expires <= now]:
            del self.starts[pair]

    def _live(self, key: str) -> dict[str, float]:
        leases = self.leases.get(key, {})
        for token in [token for token, expires in leases.items() if expires <= self.now]:
            del leases[token]
        return leases


class MemoryLimits(LimitStore):
    """Limits of one process; they end with it.

    Args:
        shelf: the state; stores with the same shelf share it.
        clock: the store's clock.
    """

    def __init__(self, shelf: MemoryShelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock

    @override
    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    @override
    async def close(self) -> None:
        """Do nothing; the state stays."""

    @override
    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        shelf = self._current()
        if shelf.now - shelf.swept_at >= _SWEEP_INTERVAL:
            shelf.sweep()
        decider = Decider(shelf, shelf.now, lease_ttl)
        verdicts = [decider.decide(ask) for ask in asks]
        shelf.used(wanted.key for ask in asks for wanted in ask.wants)
        return verdicts

    @override
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE_TTL) -> list[bool]:
        shelf = self._current()
        held = [all(shelf.leased(key, lease.token) for key in lease.keys) for lease in leases]
        for lease in leases:
            for key in lease.keys:
                shelf.keep_lease(key, lease.token, shelf.now + ttl)
        return held

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        shelf = self._current()
        for lease in leases:
            for key in lease.keys:
                if shelf.drop_lease(key, lease.token):
                    shelf.state(key).ended(shelf.now - lease.at)
            shelf.used(lease.keys)

    @override
    async def peek(self, keys: Sequence[str]) -> list[Usage]:
        shelf = self._current()
        shelf.sweep()
        return [
            shelf.states.get(key, LimitState()).usage(key, shelf.running(key), shelf.now)
            for key in keys
        ]

    @override
    async def find(self, prefix: str = "", *, limit: int = 1000) -> list[Usage]:
        keys = sorted(key for key in self._current().in_use() if key.startswith(prefix))
        return await self.peek(keys[:limit])

    def _current(self) -> MemoryShelf:
        self._shelf.now = self._clock.time()
        return self._shelf
