"""Keys of unique tasks and guarded blocks in PostgreSQL, free of races at READ COMMITTED.

Every method is one statement.
"""

from __future__ import annotations

from stem_amqp.results.base import KeyRecord
from stem_amqp.results.postgres.pool import Connection
from stem_amqp.results.postgres.text import original, stored

# Of two concurrent claimants the second waits for the first one's row, and then reads its owner. It
# writes the row even if nothing changes: otherwise RETURNING would return no row.
_CLAIM = """
INSERT INTO stem_keys AS held (namespace, key, owner, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (namespace, key) DO UPDATE SET
    owner = CASE WHEN held.expires_at <= $5 THEN excluded.owner ELSE held.owner END,
    value = CASE WHEN held.expires_at <= $5 THEN NULL ELSE held.value END,
    expires_at = CASE
        WHEN held.expires_at <= $5 OR (held.owner = excluded.owner AND held.value IS NULL)
        THEN excluded.expires_at ELSE held.expires_at
    END
RETURNING owner, value, expires_at
"""

_KEEP = """
UPDATE stem_keys SET expires_at = $4::double precision, value = coalesce($5, value)
WHERE namespace = $1 AND key = $2 AND owner = $3 AND expires_at > $6
RETURNING true
"""

# As _CLAIM, and then the new value is stored, if the row has the expected one (NULL: none)
_SWAP = """
INSERT INTO stem_keys AS held (namespace, key, owner, expires_at, value)
VALUES ($1, $2, $3, $4, CASE WHEN $6::bytea IS NULL THEN $7::bytea END)
ON CONFLICT (namespace, key) DO UPDATE SET
    owner = CASE WHEN held.expires_at <= $5 THEN excluded.owner ELSE held.owner END,
    value = CASE
        WHEN held.expires_at <= $5 THEN excluded.value
        WHEN held.owner = excluded.owner AND held.value IS NOT DISTINCT FROM $6::bytea
        THEN $7::bytea ELSE held.value END,
    expires_at = CASE
        WHEN held.expires_at <= $5 OR (
            held.owner = excluded.owner
            AND (held.value IS NULL OR held.value IS NOT DISTINCT FROM $6::bytea))
        THEN excluded.expires_at ELSE held.expires_at
    END
RETURNING owner, value, expires_at
"""

_RELEASE = """
DELETE FROM stem_keys WHERE namespace = $1 AND key = $2 AND owner = $3 AND expires_at > $4
RETURNING true
"""

_PURGE = """
WITH expired AS MATERIALIZED (
    SELECT key FROM stem_keys WHERE namespace = $1 AND expires_at <= $2
    ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM stem_keys USING expired
    WHERE stem_keys.namespace = $1 AND stem_keys.key = expired.key
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def claim(
    connection: Connection, namespace: str, key: str, owner: str, *, ttl: float, now: float
) -> KeyRecord:
    """Claim a key that is free, and return its record."""
    row = await connection.fetchrow(_CLAIM, namespace, stored(key), stored(owner), now + ttl, now)
    if row is None:
        raise RuntimeError("PostgreSQL returned no row for an upsert that always writes one")
    return KeyRecord(owner=original(row[0]), value=row[1], remaining=row[2] - now)


async def keep(
    connection: Connection,
    namespace: str,
    key: str,
    owner: str,
    *,
    ttl: float,
    value: bytes | None,
    now: float,
) -> bool:
    """Extend the time of a key, and return whether the owner still held it."""
    kept = await connection.fetchval(
        _KEEP, namespace, stored(key), stored(owner), now + ttl, value, now
    )
    return kept is True


async def swap(
    connection: Connection,
    namespace: str,
    key: str,
    owner: str,
    *,
    ttl: float,
    expected: bytes | None,
    value: bytes,
    now: float,
) -> KeyRecord:
    """Store a value if the key has the expected one, and return the key's record."""
    row = await connection.fetchrow(
        _SWAP, namespace, stored(key), stored(owner), now + ttl, now, expected, value
    )
    if row is None:
        raise RuntimeError("PostgreSQL returned no row for an upsert that always writes one")
    return KeyRecord(owner=original(row[0]), value=row[1], remaining=row[2] - now)


async def release(connection: Connection, namespace: str, key: str, owner: str, now: float) -> bool:
    """Release a key, and return whether the owner held it."""
    released = await connection.fetchval(_RELEASE, namespace, stored(key), stored(owner), now)
    return released is True


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most `limit` expired keys, and return their number."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))
