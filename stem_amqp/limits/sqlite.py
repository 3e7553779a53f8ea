"""Limits in the SQLite file of the result backend: a batch of asks is one transaction, for one machine.

The tables are created when limits are used first. They do not change the version of the file: earlier releases do
not read them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import TypeVar

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.limits.base import LEASE_TTL, Ask, Lease, LimitStore, Usage, Verdict
from stem_amqp.limits.decide import Decider, LimitState
from stem_amqp.results.sqlite.thread import SqliteThread

T = TypeVar("T")

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS stem_limits (
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        arrival REAL NOT NULL,
        overflow REAL NOT NULL,
        interval REAL NOT NULL,
        queue REAL NOT NULL,
        spacing REAL NOT NULL,
        alive REAL NOT NULL,
        mean REAL NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (namespace, key)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stem_limit_starts (
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        token TEXT NOT NULL,
        at REAL NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (namespace, key, token)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stem_limit_leases (
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        token TEXT NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (namespace, key, token)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS stem_limits_by_expiry ON stem_limits (expires)",
    "CREATE INDEX IF NOT EXISTS stem_limit_starts_by_expiry ON stem_limit_starts (expires)",
    "CREATE INDEX IF NOT EXISTS stem_limit_leases_by_expiry ON stem_limit_leases (expires)",
)
_SELECT = (
    "SELECT arrival, overflow, interval, queue, spacing, alive, mean, expires FROM stem_limits"
    " WHERE namespace = ? AND key = ? AND expires > ?"
)
_SAVE = "INSERT OR REPLACE INTO stem_limits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Several namespaces may share the file; the prefix has no wildcards.
_IN_USE = """
SELECT key FROM stem_limits WHERE namespace = :namespace AND expires > :now AND substr(key, 1, :length) = :prefix
UNION
SELECT key FROM stem_limit_leases WHERE namespace = :namespace AND expires > :now AND substr(key, 1, :length) = :prefix
ORDER BY key LIMIT :limit
"""
_EXPIRED = tuple(
    f"DELETE FROM {table} WHERE expires <= ?"  # noqa: S608 our own names
    for table in ("stem_limits", "stem_limit_starts", "stem_limit_leases")
)
_PURGE_INTERVAL = 10.0
"""Seconds between two removals of what has expired."""


class SqliteShelf:
    """The state of limits within one transaction.

    Args:
        connection: the file.
        namespace: whose limits.
        now: seconds since the epoch.
    """

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: float) -> None:
        self._connection = connection
        self._namespace = namespace
        self._states: dict[str, LimitState] = {}
        self._counts: dict[str, int] = {}
        self.now = now

    def state(self, key: str) -> LimitState:
        """Return the state of a limit; `save` stores it."""
        found = self._states.get(key)
        if found is None:
            row = self._connection.execute(_SELECT, (self._namespace, key, self.now)).fetchone()
            found = self._states[key] = LimitState() if row is None else LimitState(*row)
        return found

    def start(self, key: str, token: str) -> float | None:
        """Return the start that a token has in a limit."""
        row = self._connection.execute(
            "SELECT at FROM stem_limit_starts"
            " WHERE namespace = ? AND key = ? AND token = ? AND expires > ?",
            (self._namespace, key, token, self.now),
        ).fetchone()
        return None if row is None else row[0]

    def keep_start(self, key: str, token: str, at: float, expires: float) -> None:
        """Keep the start of a token in a limit."""
        self._connection.execute(
            "INSERT OR REPLACE INTO stem_limit_starts VALUES (?, ?, ?, ?, ?)",
            (self._namespace, key, token, at, expires),
        )

    def running(self, key: str) -> int:
        """Return the number of leases."""
        if key not in self._counts:
            (self._counts[key],) = self._connection.execute(
                "SELECT count(*) FROM stem_limit_leases"
                " WHERE namespace = ? AND key = ? AND expires > ?",
                (self._namespace, key, self.now),
            ).fetchone()
        return self._counts[key]

    def leased(self, key: str, token: str) -> bool:
        """Return whether a token holds a lease."""
        row = self._connection.execute(
            "SELECT 1 FROM stem_limit_leases"
            " WHERE namespace = ? AND key = ? AND token = ? AND expires > ?",
            (self._namespace, key, token, self.now),
        ).fetchone()
        return row is not None

    def keep_lease(self, key: str, token: str, expires: float) -> None:
        """Keep or extend the lease of a token."""
        self._counts.pop(key, None)
        self._connection.execute(
            "INSERT OR REPLACE INTO stem_limit_leases VALUES (?, ?, ?, ?)",
            (self._namespace, key, token, expires),
        )

    def drop_lease(self, key: str, token: str) -> bool:
        """Remove the lease of a token, and return whether it was held."""
        self._counts.pop(key, None)
        deleted = self._connection.execute(
            "DELETE FROM stem_limit_leases"
            " WHERE namespace = ? AND key = ? AND token = ? AND expires > ?",
            (self._namespace, key, token, self.now),
        )
        return deleted.rowcount == 1

    def save(self) -> None:
        """Store the states that were used."""
        rows = []
        for key, state in self._states.items():
            state.used(self.now)
            rows.append((self._namespace, key, *astuple(state)))
        self._connection.executemany(_SAVE, rows)

    def usage(self, key: str) -> Usage:
        """Return what operators see of a limit."""
        return self.state(key).usage(key, self.running(key), self.now)

    def in_use(self, prefix: str, limit: int) -> list[str]:
        """Return the first limits in use whose keys begin with a text."""
        values = {
            "namespace": self._namespace,
            "now": self.now,
            "prefix": prefix,
            "length": len(prefix),
            "limit": limit,
        }
        return [row[0] for row in self._connection.execute(_IN_USE, values)]


class SqliteLimits(LimitStore):
    """Limits in a SQLite file.

    Args:
        thread: owns the connection of the result backend.
        namespace: limits of other namespaces are neither seen nor touched.
        clock: the store's clock: all processes are on one machine.
    """

    def __init__(self, thread: SqliteThread, namespace: str, clock: Clock) -> None:
        self._thread = thread
        self._namespace = namespace
        self._clock = clock
        self._purged_at = 0.0

    @override
    async def open(self) -> None:
        def create(connection: sqlite3.Connection) -> None:
            for statement in _TABLES:
                connection.execute(statement)

        await self._thread.write(create)

    @override
    async def close(self) -> None:
        """Do nothing; the result backend closes the file."""

    @override
    async def ask(self, asks: Sequence[Ask], *, lease_ttl: float = LEASE_TTL) -> list[Verdict]:
        def decide(shelf: SqliteShelf) -> list[Verdict]:
            decider = Decider(shelf, shelf.now, lease_ttl)
            return [decider.decide(ask) for ask in asks]

        return await self._write(decide) if asks else []

    @override
    async def renew(self, leases: Sequence[Lease], *, ttl: float = LEASE_TTL) -> list[bool]:
        def extend(shelf: SqliteShelf) -> list[bool]:
            held = [all(shelf.leased(key, lease.token) for key in lease.keys) for lease in leases]
            for lease in leases:
                for key in lease.keys:
                    shelf.keep_lease(key, lease.token, shelf.now + ttl)
            return held

        return await self._write(extend) if leases else []

    @override
    async def release(self, leases: Sequence[Lease]) -> None:
        def end(shelf: SqliteShelf) -> None:
            for lease in leases:
                for key in lease.keys:
                    if shelf.drop_lease(key, lease.token):
                        shelf.state(key).ended(shelf.now - lease.at)

        if leases:
            await self._write(end)

    @override
    async def peek(self, keys: Sequence[str]) -> list[Usage]:
        return await self._read(lambda shelf: [shelf.usage(key) for key in keys])

    @override
    async def find(self, prefix: str = "", *, limit: int = 1000) -> list[Usage]:
        return await self._read(
            lambda shelf: [shelf.usage(key) for key in shelf.in_use(prefix, limit)]
        )

    async def _read(self, job: Callable[[SqliteShelf], T]) -> T:
        return await self._thread.read(
            lambda connection: job(SqliteShelf(connection, self._namespace, self._clock.time()))
        )

    async def _write(self, job: Callable[[SqliteShelf], T]) -> T:
        def in_transaction(connection: sqlite3.Connection) -> T:
            now = self._clock.time()  # after the wait for the lock, in the order of transactions
            if now - self._purged_at >= _PURGE_INTERVAL:
                self._purged_at = now
                for statement in _EXPIRED:
                    connection.execute(statement, (now,))
            shelf = SqliteShelf(connection, self._namespace, now)
            result = job(shelf)
            shelf.save()
            return result

        return await self._thread.write(in_transaction, durable=False)
