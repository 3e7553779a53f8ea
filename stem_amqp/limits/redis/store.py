"""Limits in Redis: a batch of asks is one script, which Redis runs atomically.

Keys, for the namespace ``stem``:

- ``stem:limit:state:<limit>``: a hash, see `stem_amqp.limits.decide.LimitState`.
- ``stem:limit:leases:<limit>``: a sorted set of tokens by the end of their lease.
- ``stem:limit:start:<limit> <token>``: the start that a token has, and until when.
- ``stem:limits``: a sorted set of the limits in use by the time after which they are idle.

All have a TTL, so that idle limits leave nothing behind. They add to the keys of the result backend and do not
change its version: earlier releases do not use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.limits.base import LEASE_TTL, Ask, Lease, LimitStore, Usage, Verdict, Wanted
from stem_amqp.limits.decide import LimitState
from stem_amqp.limits.redis.scripts import ASK, FIND, PEEK, RELEASE, RENEW
from stem_amqp.results.redis.client import RedisClient, Script

_SLACK = 1.0
"""Seconds for which keys outlive what they contain: TTLs have no fractions of a millisecond."""
_OTHER_CLOCK_SLACK = 3600.0
"""The same with a clock that is not the server's, which the TTLs follow."""
_PEEK_LIMIT = 1000
"""Limits read in one round trip."""


class _Numbered:
    """The limits of one call, by their numbers from 1."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        """Return the number of a limit."""
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    @property
    def names(self) -> list[str]:
        """The limits in the order of their numbers."""
        return list(self._numbers)


class RedisLimits(LimitStore):
    """Limits in Redis.

    Args:
        client: the connections of the result backend.
        namespace: the prefix of every key.
        clock: replaces the server's clock, for tests.
    """

    def __init__(self, client: RedisClient, namespace: str, clock: Clock | None = None) -> None:
        self._client = client
        self._index = f"{namespace}:limits"
        self._prefix = f"{namespace}:limit:"
        self._clock = clock

    @override
    async def open(self) -> None:
        await self._client.call("PING")

    @override
    async def close(self) -> None:
        """Do nothing; the result backend closes the connections."""

    @override
    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        if not asks:
            return []
        number, starts = _Numbered(), list[str]()
        given = [
            (
                ask.token,
                ask.waited,
                ask.duration_hint or 0,
                [self._want(wanted, ask.token, number, starts) for wanted in ask.wants],
            )
            for ask in asks
        ]
        names = number.names
        document = [names, lease_ttl, given, 1 + 2 * len(names)]
        reply: bytes = await self._run(ASK, names, starts, *document)
        return [
            _verdict(ask, names, line) for ask, line in zip(asks, reply.splitlines(), strict=True)
        ]

    @override
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE_TTL) -> list[bool]:
        if not leases:
            return []
        number = _Numbered()
        given = [(lease.token, [number(key) for key in lease.keys]) for lease in leases]
        reply: bytes = await self._run(RENEW, number.names, (), number.names, ttl, given)
        return [held == ord("1") for held in reply]

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        if not leases:
            return
        number = _Numbered()
        given = [(lease.token, [number(key) for key in lease.keys], lease.at) for lease in leases]
        await self._run(RELEASE, number.names, (), number.names, given)

    @override
    async def peek(self, keys: Sequence[str]) -> list[Usage]:
        found: list[Usage] = []
        for first in range(0, len(keys), _PEEK_LIMIT):
            some = keys[first : first + _PEEK_LIMIT]
            reply: bytes = await self._run(PEEK, some, ())
            now, *lines = reply.splitlines()
            found += [_usage(key, line, float(now)) for key, line in zip(some, lines, strict=True)]
        return found

    @override
    async def find(self, prefix: str = "", *, limit: int = 1000) -> list[Usage]:
        names: list[bytes] = await self._run(FIND, (), ())
        keys = sorted(name.decode("utf-8", "replace") for name in names)
        return await self.peek([key for key in keys if key.startswith(prefix)][:limit])

    def _want(
        self, wanted: Wanted, token: str, number: _Numbered, starts: list[str]
    ) -> tuple[int, float, int, int, int]:
        if wanted.rate is not None:
            starts.append(f"{self._prefix}start:{wanted.key} {token}")
        return (
            number(wanted.key),
            wanted.interval,
            wanted.burst,
            wanted.concurrency or 0,
            len(starts),
        )

    async def _run(
        self, script: Script, names: Sequence[str], starts: Iterable[str], *document: Any
    ) -> Any:
        keys = [self._index]
        for name in names:
            keys += (f"{self._prefix}state:{name}", f"{self._prefix}leases:{name}")
        keys += starts
        now = None if self._clock is None else self._clock.time()
        slack = _SLACK if now is None else _OTHER_CLOCK_SLACK
        return await self._client.run(script, keys, [orjson.dumps([now, slack, *document])])


def _verdict(ask: Ask, names: Sequence[str], line: bytes) -> Verdict:
    wait, at, reserved, limit = line.split(b" ")
    when = float(at)
    if limit != b"0":
        return Verdict(
            wait=float(wait), at=when, reserved=reserved == b"1", key=names[int(limit) - 1]
        )
    keys = tuple(wanted.key for wanted in ask.wants if wanted.concurrency is not None)
    lease = Lease(token=ask.token, keys=keys, at=when) if keys else None
    return Verdict(wait=0.0, at=when, reserved=True, lease=lease)


def _usage(key: str, line: bytes, now: float) -> Usage:
    running, *fields = line.split(b" ")
    return LimitState(*map(float, fields)).usage(key, int(running), now)
