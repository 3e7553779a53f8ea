"""Keys of unique tasks and guarded blocks in SQLite.

Everything here runs in the backend's one thread, inside a transaction that holds the write lock, so
that a value cannot change between reading and writing.
"""

from __future__ import annotations

import sqlite3

from stem_amqp.results.base import KeyRecord

_CLAIM = """
INSERT INTO stem_keys (key, owner, expires_at) VALUES (:key, :owner, :expires_at)
ON CONFLICT (key) DO UPDATE
SET owner = excluded.owner, expires_at = excluded.expires_at, value = NULL
WHERE expires_at <= :now OR (owner = excluded.owner AND value IS NULL)
"""
_KEEP = """
UPDATE stem_keys SET expires_at = :expires_at, value = coalesce(:value, value)
WHERE key = :key AND owner = :owner AND expires_at > :now
"""


def claim(
    connection: sqlite3.Connection, key: str, owner: str, *, ttl: float, now: float
) -> KeyRecord:
    """Claim a key that is free, and return its record."""
    values = {"key": key, "owner": owner, "expires_at": now + ttl, "now": now}
    connection.execute(_CLAIM, values)
    row = connection.execute(
        "SELECT owner, value, expires_at FROM stem_keys WHERE key = ?", (key,)
    ).fetchone()
    return KeyRecord(owner=row[0], value=row[1], remaining=row[2] - now)


def keep(
    connection: sqlite3.Connection,
    key: str,
    owner: str,
    *,
    ttl: float,
    value: bytes | None,
    now: float,
) -> bool:
    """Extend the time of a key, and return whether the owner still held it."""
    values = {"key": key, "owner": owner, "expires_at": now + ttl, "value": value, "now": now}
    return connection.execute(_KEEP, values).rowcount == 1


def swap(
    connection: sqlite3.Connection,
    key: str,
    owner: str,
    *,
    ttl: float,
    expected: bytes | None,
    value: bytes,
    now: float,
) -> KeyRecord:
    """Store a value if the key has the expected one, and return the key's record."""
    record = claim(connection, key, owner, ttl=ttl, now=now)
    if record.owner != owner or record.value != expected:
        return record
    keep(connection, key, owner, ttl=ttl, value=value, now=now)
    return KeyRecord(owner=owner, value=value, remaining=ttl)


def release(connection: sqlite3.Connection, key: str, owner: str, now: float) -> bool:
    """Release a key, and return whether the owner held it."""
    deleted = connection.execute(
        "DELETE FROM stem_keys WHERE key = ? AND owner = ? AND expires_at > ?", (key, owner, now)
    )
    return deleted.rowcount == 1


def purge(connection: sqlite3.Connection, now: float) -> int:
    """Remove the expired keys, and return their number."""
    return connection.execute("DELETE FROM stem_keys WHERE expires_at <= ?", (now,)).rowcount
