"""Keys of unique tasks and guarded blocks in PostgreSQL, free of races at READ COMMITTED.

Every method is one statement.
"""

from __future__ import annotations

from stem_amqp.results.base import KeyRecord
from stem_amqp.results.postgres_pool import Connection

# Two claimants at once: the second waits for the first one's row, and then sees whose it is. It
# writes the row again even where it changes nothing: only so does RETURNING tell what stands there.
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
    """Take a key that nobody holds, and return how it stands."""
    row = await connection.fetchrow(_CLAIM, namespace, key, owner, now + ttl, now)
    if row is None:
        raise RuntimeError("PostgreSQL returned no row for an upsert that always writes one")
    return KeyRecord(owner=row[0], value=row[1], remaining=row[2] - now)


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
    """Hold a key for longer, and return whether the owner still held it."""
    kept = await connection.fetchval(_KEEP, namespace, key, owner, now + ttl, value, now)
    return kept is True


async def release(connection: Connection, namespace: str, key: str, owner: str, now: float) -> bool:
    """Let a key go, and return whether the owner held it."""
    return await connection.fetchval(_RELEASE, namespace, key, owner, now) is True


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most so many expired keys, and return how many that were."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))
