"""Limits in PostgreSQL: a batch of asks is one call of a function.

The function locks the limits in one order, so that batches of several processes wait for each other and do not
block each other. It is free of races at READ COMMITTED, the server's default.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.limits.base import LEASE_TTL, Ask, Lease, LimitStore, Usage, Verdict
from stem_amqp.limits.decide import LimitState
from stem_amqp.limits.postgres.functions import LOCKS
from stem_amqp.limits.postgres.schema import EXTRA
from stem_amqp.results.postgres.pool import PostgresPool
from stem_amqp.results.postgres.text import original, stored

_ASK = "SELECT * FROM stem_limits_ask_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
_RENEW = "SELECT stem_limits_renew_v1($1, $2, $3, $4, $5, $6)"
_RELEASE = "SELECT stem_limits_release_v1($1, $2, $3, $4, $5, $6)"
_NOW = "coalesce($2::float8, extract(epoch FROM clock_timestamp())::float8)"
_PEEK = f"""
SELECT {_NOW}, (SELECT count(*) FROM stem_limit_leases AS e
        WHERE e.namespace = $1 AND e.key = given.key AND e.expires > {_NOW}),
    coalesce(l.arrival, 0), coalesce(l.overflow, 0), coalesce(l.interval, 0), coalesce(l.queue, 0),
    coalesce(l.spacing, 0), coalesce(l.alive, 0), coalesce(l.mean, 0), coalesce(l.expires, 0)
FROM unnest($3::text[]) WITH ORDINALITY AS given (key, n)
LEFT JOIN stem_limits AS l ON l.namespace = $1 AND l.key = given.key AND l.expires > {_NOW}
ORDER BY n
"""  # noqa: S608 our own text
_FIND = f"""
SELECT key FROM stem_limits WHERE namespace = $1 AND expires > {_NOW} AND starts_with(key, $3)
UNION
SELECT key FROM stem_limit_leases WHERE namespace = $1 AND expires > {_NOW} AND starts_with(key, $3)
ORDER BY key LIMIT $4
"""  # noqa: S608 our own text


class PostgresLimits(LimitStore):
    """Limits in a PostgreSQL database.

    Args:
        pool: the connections of the result backend.
        namespace: limits of other namespaces are neither seen nor touched.
        clock: replaces the server's clock, for tests.
    """

    def __init__(self, pool: PostgresPool, namespace: str, clock: Clock | None = None) -> None:
        self._pool = pool
        self._namespace = namespace
        self._clock = clock

    @override
    async def open(self) -> None:
        await EXTRA.open(self._pool)

    @override
    async def close(self) -> None:
        """Do nothing; the result backend closes the connections."""

    @override
    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        if not asks:
            return []
        wants = [
            (number, wanted) for number, ask in enumerate(asks, start=1) for wanted in ask.wants
        ]
        keys = list(dict.fromkeys(wanted.key for _, wanted in wants))
        numbers = {key: number for number, key in enumerate(keys, start=1)}
        arguments = (
            self._now(),
            lease_ttl,
            self._locks(keys),
            list(map(stored, keys)),
            [stored(ask.token) for ask in asks],
            [ask.waited for ask in asks],
            [ask.duration_hint or 0.0 for ask in asks],
            [number for number, _ in wants],
            [numbers[wanted.key] for _, wanted in wants],
            [wanted.interval for _, wanted in wants],
            [wanted.burst for _, wanted in wants],
            [wanted.concurrency or 0 for _, wanted in wants],
        )
        (row,) = await self._fetch(_ASK, *arguments)
        return [
            _verdict(ask, keys, answer)
            for ask, answer in zip(asks, zip(*row, strict=True), strict=True)
        ]

    @override
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE_TTL) -> list[bool]:
        pairs = [(key, lease) for lease in leases for key in lease.keys]
        if not pairs:
            return [True] * len(leases)
        keys = [stored(key) for key, _ in pairs]
        tokens = [stored(lease.token) for _, lease in pairs]
        arguments = (self._now(), ttl, self._locks([key for key, _ in pairs]), keys, tokens)
        ((reply,),) = await self._fetch(_RENEW, *arguments)
        held = iter(reply)
        # a list, since every pair must be taken
        return [all([next(held) for _ in lease.keys]) for lease in leases]  # noqa: C419

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        pairs = [(key, lease) for lease in leases for key in lease.keys]
        if not pairs:
            return
        arguments = (
            self._now(),
            self._locks([key for key, _ in pairs]),
            [stored(key) for key, _ in pairs],
            [stored(lease.token) for _, lease in pairs],
            [lease.at for _, lease in pairs],
        )
        await self._fetch(_RELEASE, *arguments)

    @override
    async def peek(self, keys: Sequence[str]) -> list[Usage]:
        now, texts = self._now(), list(map(stored, keys))
        rows = await self._fetch(_PEEK, now, texts)
        return [
            LimitState(*row[2:]).usage(key, row[1], row[0])
            for key, row in zip(keys, rows, strict=True)
        ]

    @override
    async def find(self, prefix: str = "", *, limit: int = 1000) -> list[Usage]:
        now, text = self._now(), stored(prefix)
        rows = await self._fetch(_FIND, now, text, limit)
        return await self.peek([original(row[0]) for row in rows])

    async def _fetch(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return await EXTRA.fetch(self._pool, statement, self._namespace, *arguments)

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock.time()

    def _locks(self, keys: Sequence[str]) -> list[int]:
        """Return the numbers of the advisory locks of some limits, in the order for locking."""
        return sorted(
            {
                zlib.crc32(f"{self._namespace}\0{key}".encode("utf-8", "replace")) % LOCKS
                for key in keys
            }
        )


def _verdict(ask: Ask, keys: Sequence[str], answer: tuple[float, float, bool, int]) -> Verdict:
    wait, at, reserved, number = answer
    if number:
        return Verdict(wait=wait, at=at, reserved=reserved, key=keys[number - 1])
    leased = tuple(wanted.key for wanted in ask.wants if wanted.concurrency is not None)
    lease = Lease(token=ask.token, keys=leased, at=at) if leased else None
    return Verdict(wait=0.0, at=at, reserved=True, lease=lease)
