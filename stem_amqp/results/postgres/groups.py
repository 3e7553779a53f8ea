"""Groups in PostgreSQL, free of races at READ COMMITTED.

A batch of reports locks the rows of its groups, in their order, adds the members, and adds their number
to the counts: in one statement, so that the counts never differ from the members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stem_amqp.results.groups.checks import (
    check_count,
    check_page,
    check_same_size,
    check_size,
    sealed_group,
    unknown_group,
)
from stem_amqp.results.groups.counts import Change, after_each, distinct
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.results.postgres.pool import Connection
from stem_amqp.results.postgres.text import original, original_or_none, stored, stored_or_none
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState

_EXPIRED = """
SELECT true FROM stem_groups WHERE namespace = $1 AND group_id = $2 AND expires_at <= $3 FOR UPDATE
"""
_REMOVE = """
WITH members AS (
    DELETE FROM stem_group_members WHERE namespace = $1 AND group_id = $2
), expansions AS (
    DELETE FROM stem_group_expansions WHERE namespace = $1 AND group_id = $2
)
DELETE FROM stem_groups WHERE namespace = $1 AND group_id = $2
"""
_CREATE = """
INSERT INTO stem_groups (namespace, group_id, size, sealed, plan, expires_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
_SIZE = "SELECT size FROM stem_groups WHERE namespace = $1 AND group_id = $2"

_LOCK = """
SELECT size, sealed FROM stem_groups WHERE namespace = $1 AND group_id = $2 AND expires_at > $3
FOR NO KEY UPDATE
"""
_EARLIER = """
SELECT first FROM stem_group_expansions WHERE namespace = $1 AND group_id = $2 AND name = $3
"""
_EXPAND = """
WITH expansion AS (
    INSERT INTO stem_group_expansions (namespace, group_id, name, first) VALUES ($1, $2, $3, $4)
)
UPDATE stem_groups SET size = size + $5 WHERE namespace = $1 AND group_id = $2
"""

_COLUMNS = "size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at"
_SEAL = f"""
UPDATE stem_groups SET sealed = true WHERE namespace = $1 AND group_id = $2 AND expires_at > $3
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants

# `target` reads each group's latest row once it has the lock. A new member's row has no xmax, that of a
# mended one has this transaction's. The counts of groups of which nothing changes are returned too.
_REPORT = """
WITH target AS MATERIALIZED (
    SELECT group_id, size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at
    FROM stem_groups
    WHERE namespace = $1 AND group_id = ANY ($3::text[]) AND expires_at > $2
    ORDER BY group_id FOR NO KEY UPDATE
), ended AS (
    INSERT INTO stem_group_members AS member
        (namespace, group_id, position, task_id, state, value, error)
    SELECT $1, new.group_id, position, task_id, state, value, error
    FROM unnest($3::text[], $4::integer[], $5::text[], $6::text[], $7::bytea[], $8::text[])
        AS new (group_id, position, task_id, state, value, error)
    JOIN target ON target.group_id = new.group_id AND position >= 0 AND position < size
    ON CONFLICT (namespace, group_id, position) DO UPDATE
    SET task_id = excluded.task_id, state = excluded.state, value = excluded.value,
        error = excluded.error
    WHERE member.state <> 'succeeded' AND excluded.state = 'succeeded'
    RETURNING group_id, position, state <> 'succeeded' AS failed, error, xmax = 0 AS added
), counts AS (
    SELECT group_id,
        count(*) FILTER (WHERE added) AS done,
        count(*) FILTER (WHERE failed) - count(*) FILTER (WHERE NOT added) AS failed,
        min(position) FILTER (WHERE failed) AS first_failed,
        (array_agg(error ORDER BY position) FILTER (WHERE failed))[1] AS first_error,
        array_agg(position) FILTER (WHERE added) AS added,
        array_agg(position) FILTER (WHERE NOT added) AS mended
    FROM ended GROUP BY group_id
), counted AS (
    UPDATE stem_groups AS old SET
        done = old.done + counts.done,
        failed = old.failed + counts.failed,
        first_failed = coalesce(old.first_failed, counts.first_failed),
        first_error = CASE WHEN old.first_failed IS NULL THEN counts.first_error
            ELSE old.first_error END
    FROM counts WHERE old.namespace = $1 AND old.group_id = counts.group_id
    RETURNING old.group_id
)
SELECT target.group_id, target.size, target.sealed,
    target.done + coalesce(counts.done, 0), target.failed + coalesce(counts.failed, 0),
    target.claimed_by, coalesce(target.first_failed, counts.first_failed),
    CASE WHEN target.first_failed IS NULL THEN counts.first_error ELSE target.first_error END,
    target.expires_at, counts.added, counts.mended
FROM target LEFT JOIN counts USING (group_id)
"""

# Of two concurrent claimants the second waits for the row's lock, and then finds it claimed.
_CLAIM = """
UPDATE stem_groups SET claimed_by = $3
WHERE namespace = $1 AND group_id = $2 AND expires_at > $4
  AND coalesce(claimed_by, $3) = $3 AND sealed AND done >= size
RETURNING true
"""

_FETCH = f"""
SELECT {_COLUMNS}, plan FROM stem_groups WHERE namespace = $1 AND group_id = $2 AND expires_at > $3
"""  # noqa: S608 - constants

_MEMBERS = """
SELECT position, task_id, state, value, error FROM stem_group_members
WHERE namespace = $1 AND group_id = $2 AND position > $3 {condition} ORDER BY position LIMIT $4
"""
_CONDITION = {None: "", True: "AND state <> 'succeeded'", False: "AND state = 'succeeded'"}

_PURGE = """
WITH expired AS MATERIALIZED (
    SELECT group_id FROM stem_groups WHERE namespace = $1 AND expires_at <= $2
    ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED
), members AS (
    DELETE FROM stem_group_members AS member USING expired
    WHERE member.namespace = $1 AND member.group_id = expired.group_id
), expansions AS (
    DELETE FROM stem_group_expansions AS expansion USING expired
    WHERE expansion.namespace = $1 AND expansion.group_id = expired.group_id
), gone AS (
    DELETE FROM stem_groups USING expired
    WHERE stem_groups.namespace = $1 AND stem_groups.group_id = expired.group_id
    RETURNING 1
)
SELECT count(*) FROM gone
"""


async def create(
    connection: Connection,
    namespace: str,
    group_id: str,
    size: int,
    *,
    ttl: float,
    plan: bytes,
    sealed: bool,
    now: float,
) -> None:
    """Create a group, if it does not exist."""
    check_size(group_id, size)
    place = (namespace, stored(group_id))
    async with connection.transaction():
        if await connection.fetchval(_EXPIRED, *place, now):
            await connection.execute(_REMOVE, *place)
        await connection.execute(_CREATE, *place, size, sealed, plan, now + ttl)
        # Either this group or one that was committed before: this statement sees both.
        existing = await connection.fetchval(_SIZE, *place)
    check_same_size(group_id, size, existing, sealed=sealed)


async def expand(
    connection: Connection, namespace: str, group_id: str, count: int, addition: str, *, now: float
) -> int:
    """Add members, and return the index of the first."""
    check_count(group_id, count)
    place = (namespace, stored(group_id))
    async with connection.transaction():
        group = await connection.fetchrow(_LOCK, *place, now)
        if group is None:
            raise unknown_group(group_id)
        earlier = await connection.fetchval(_EARLIER, *place, stored(addition))
        if earlier is not None:
            return int(earlier)
        if group[1]:
            raise sealed_group(group_id)
        await connection.execute(_EXPAND, *place, stored(addition), group[0], count)
        return int(group[0])


async def seal(connection: Connection, namespace: str, group_id: str, now: float) -> GroupRecord:
    """Seal a group, and return it."""
    row = await connection.fetchrow(_SEAL, namespace, stored(group_id), now)
    if row is None:
        raise unknown_group(group_id)
    return _record(group_id, row)


async def report(
    connection: Connection, namespace: str, reports: Sequence[MemberReport], now: float
) -> list[GroupRecord | None]:
    """Store the ends of members, and return the group after each report."""
    chosen = distinct(reports)
    # in their order, so that concurrent writers lock rows in the same order
    chosen.sort(key=lambda position: (reports[position].group_id, reports[position].index))
    some = [reports[position] for position in chosen]
    rows = await connection.fetch(_REPORT, namespace, now, *_columns(some))
    groups = {original(row[0]): _record(original(row[0]), row[1:9]) for row in rows}
    kinds = {
        (original(row[0]), index): change
        for row in rows
        for change, indexes in ((Change.ADDED, row[9]), (Change.MENDED, row[10]))
        for index in indexes or ()
    }
    changes = {
        position: kinds.get((one.group_id, one.index), Change.NOTHING)
        for position, one in zip(chosen, some, strict=True)
    }
    return after_each(reports, groups, changes)


async def claim(
    connection: Connection, namespace: str, group_id: str, claimant: str, now: float
) -> bool:
    """Claim a complete group, and return whether the claimant has won."""
    won = await connection.fetchval(_CLAIM, namespace, stored(group_id), stored(claimant), now)
    return won is True


async def fetch(
    connection: Connection, namespace: str, group_id: str, now: float
) -> GroupRecord | None:
    """Return a group with its plan, or None if there is none (any more)."""
    row = await connection.fetchrow(_FETCH, namespace, stored(group_id), now)
    return None if row is None else _record(group_id, row)


async def members(
    connection: Connection,
    namespace: str,
    group_id: str,
    *,
    after: int,
    limit: int,
    failed: bool | None,
    now: float,
) -> list[MemberRecord]:
    """Return members by index."""
    check_page(after, limit)
    if await fetch(connection, namespace, group_id, now) is None:
        raise unknown_group(group_id)
    statement = _MEMBERS.format(condition=_CONDITION[failed])
    found: list[MemberRecord] = []
    while len(found) < limit:
        wanted = limit - len(found)
        rows = await connection.fetch(statement, namespace, stored(group_id), after, wanted)
        found += [member for member in map(_member, rows) if member is not None]
        if len(rows) < wanted:
            break
        after = rows[-1][0]
    return found


async def purge(connection: Connection, namespace: str, now: float, limit: int) -> int:
    """Remove at most `limit` expired groups with their members, and return their number."""
    return int(await connection.fetchval(_PURGE, namespace, now, limit))


def _columns(reports: Sequence[MemberReport]) -> tuple[list[Any], ...]:
    return (
        [stored(one.group_id) for one in reports],
        [one.index for one in reports],
        [stored(one.task_id) for one in reports],
        [one.state.value for one in reports],
        [one.value for one in reports],
        [stored_or_none(one.error) for one in reports],
    )


def _member(row: Sequence[Any]) -> MemberRecord | None:
    position, task_id, state, value, error = row
    try:
        return MemberRecord(
            index=position,
            task_id=original(task_id),
            state=TaskState(state),
            value=value,
            error=original_or_none(error),
        )
    except ValueError as problem:
        SKIPPED.note(task_id, problem)
        return None


def _record(group_id: str, row: Sequence[Any]) -> GroupRecord:
    size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at, *plan = row
    return GroupRecord(
        group_id=group_id,
        size=size,
        sealed=sealed,
        done=done,
        failed=failed,
        plan=plan[0] if plan else b"",
        claimed_by=original_or_none(claimed_by),
        first_failed=first_failed,
        first_error=original_or_none(first_error),
        expires_at=expires_at,
    )
