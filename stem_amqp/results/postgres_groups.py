"""Groups in PostgreSQL, free of races at READ COMMITTED."""

from __future__ import annotations

from stem_amqp.results.base import GroupRecord
from stem_amqp.results.groups import check_same_size
from stem_amqp.results.postgres_pool import Connection
from stem_amqp.states import TaskState

_REMOVE_EXPIRED = """
DELETE FROM stem_groups WHERE namespace = $1 AND group_id = $2 AND expires_at <= $3
"""
_CREATE = """
INSERT INTO stem_groups (namespace, group_id, size, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_SIZE = "SELECT size FROM stem_groups WHERE namespace = $1 AND group_id = $2"

# The lock keeps the group from being purged until the member is committed.
_REPORT = """
INSERT INTO stem_group_members (namespace, group_id, task_id, state)
SELECT namespace, group_id, $3, $4 FROM stem_groups
WHERE namespace = $1 AND group_id = $2 AND expires_at > $5
FOR KEY SHARE
ON CONFLICT DO NOTHING
"""

# Two claimants at once: the second waits for the row's lock, and then finds it claimed.
_CLAIM = """
UPDATE stem_groups SET claimed_by = $3
WHERE namespace = $1 AND group_id = $2 AND expires_at > $4
  AND coalesce(claimed_by, $3) = $3
  AND size <= (SELECT count(*) FROM stem_group_members WHERE namespace = $1 AND group_id = $2)
RETURNING true
"""

_FETCH = """
SELECT size, claimed_by,
    ARRAY(SELECT ROW(task_id, state) FROM stem_group_members AS member
          WHERE member.namespace = $1 AND member.group_id = $2)
FROM stem_groups WHERE namespace = $1 AND group_id = $2 AND expires_at > $3
"""

_PURGE = """
WITH expired AS MATERIALIZED (
    SELECT group_id FROM stem_groups WHERE namespace = $1 AND expires_at <= $2
    ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM stem_groups USING expired
    WHERE stem_groups.namespace = $1 AND stem_groups.group_id = expired.group_id
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def create(
    connection: Connection, namespace: str, group_id: str, size: int, *, now: float, ttl: float
) -> None:
    """Create a group; creating it again with the same size is no error.

    Raises:
        ConfigurationError: it exists with another size.
    """
    async with connection.transaction():
        await connection.execute(_REMOVE_EXPIRED, namespace, group_id, now)
        await connection.execute(_CREATE, namespace, group_id, size, now + ttl)
        # Either ours or one that was committed before: this statement sees both.
        existing = await connection.fetchval(_SIZE, namespace, group_id)
    check_same_size(group_id, size, existing)


async def report(
    connection: Connection,
    namespace: str,
    group_id: str,
    task_id: str,
    state: TaskState,
    *,
    now: float,
) -> None:
    """Note that a member has ended; only its first report counts, and none of an unknown group.

    Whoever commits last of several reads all of them afterwards, in a transaction of its own: so
    somebody sees the group complete, without a lock on the group.
    """
    await connection.execute(_REPORT, namespace, group_id, task_id, state.value, now)


async def claim(
    connection: Connection, namespace: str, group_id: str, claimant: str, now: float
) -> bool:
    """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
    return await connection.fetchval(_CLAIM, namespace, group_id, claimant, now) is True


async def fetch(
    connection: Connection, namespace: str, group_id: str, now: float
) -> GroupRecord | None:
    """Return a group, or None if there is none (any more)."""
    row = await connection.fetchrow(_FETCH, namespace, group_id, now)
    if row is None:
        return None
    return GroupRecord(
        group_id=group_id,
        size=row[0],
        members={task_id: TaskState(state) for task_id, state in row[2]},
        claimed_by=row[1],
    )


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most so many expired groups with their members, and return how many that were."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))
