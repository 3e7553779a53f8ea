"""Groups in SQLite. Everything here runs in the backend's one thread, inside a transaction."""

from __future__ import annotations

import sqlite3
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
from stem_amqp.results.groups.counts import Change, after_each
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.results.records import writable
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState

_FETCH = """
SELECT size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at
FROM stem_groups WHERE group_id = ? AND expires_at > ?
"""
_ADD = """
INSERT INTO stem_group_members (group_id, position, task_id, state, value, error)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_MEND = """
UPDATE stem_group_members SET task_id = ?, state = ?, value = ?, error = NULL
WHERE group_id = ? AND position = ? AND state <> 'succeeded'
"""
_COUNT = """
UPDATE stem_groups SET done = done + ?, failed = failed + ?,
    first_error = CASE WHEN first_failed IS NULL THEN ? ELSE first_error END,
    first_failed = coalesce(first_failed, ?)
WHERE group_id = ?
"""
_MEMBERS = """
SELECT position, task_id, state, value, error FROM stem_group_members
WHERE group_id = ? AND position > ?{condition} ORDER BY position LIMIT ?
"""
_CONDITION = {None: "", True: " AND state <> 'succeeded'", False: " AND state = 'succeeded'"}


def create(
    connection: sqlite3.Connection,
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
    existing = _live(connection, group_id, now)
    if existing is not None:
        check_same_size(group_id, size, existing.size, sealed=sealed)
        return
    _remove(connection, group_id)
    connection.execute(
        "INSERT INTO stem_groups (group_id, size, sealed, plan, expires_at) VALUES (?, ?, ?, ?, ?)",
        (group_id, size, sealed, plan, now + ttl),
    )


def expand(
    connection: sqlite3.Connection, group_id: str, count: int, addition: str, *, now: float
) -> int:
    """Add members, and return the index of the first."""
    check_count(group_id, count)
    group = _known(connection, group_id, now)
    earlier = connection.execute(
        "SELECT first FROM stem_group_expansions WHERE group_id = ? AND name = ?",
        (group_id, addition),
    ).fetchone()
    if earlier is not None:
        return int(earlier[0])
    if group.sealed:
        raise sealed_group(group_id)
    connection.execute(
        "INSERT INTO stem_group_expansions (group_id, name, first) VALUES (?, ?, ?)",
        (group_id, addition, group.size),
    )
    connection.execute(
        "UPDATE stem_groups SET size = size + ? WHERE group_id = ?", (count, group_id)
    )
    return group.size


def seal(connection: sqlite3.Connection, group_id: str, now: float) -> GroupRecord:
    """Seal a group, and return it."""
    connection.execute("UPDATE stem_groups SET sealed = 1 WHERE group_id = ?", (group_id,))
    return _known(connection, group_id, now)


def report(
    connection: sqlite3.Connection, reports: Sequence[MemberReport], now: float
) -> list[GroupRecord | None]:
    """Store the ends of members, and return the group after each report."""
    group_ids = dict.fromkeys(report.group_id for report in reports)
    sizes = {group_id: _live(connection, group_id, now) for group_id in group_ids}
    changes: dict[int, Change] = {}
    for position, one in enumerate(reports):
        group = sizes[one.group_id]
        if group is not None and 0 <= one.index < group.size:
            change = _store(connection, one)
            if change is not Change.NOTHING:
                changes[position] = change
    _count(connection, [(reports[position], change) for position, change in changes.items()])
    groups = {group_id: _live(connection, group_id, now) for group_id in group_ids}
    live = {group_id: group for group_id, group in groups.items() if group is not None}
    return after_each(reports, live, changes)


def claim(connection: sqlite3.Connection, group_id: str, claimant: str, now: float) -> bool:
    """Claim a complete group, and return whether the claimant has won."""
    connection.execute(
        "UPDATE stem_groups SET claimed_by = ? WHERE group_id = ? AND expires_at > ?"
        " AND claimed_by IS NULL AND sealed AND done >= size",
        (claimant, group_id, now),
    )
    group = _live(connection, group_id, now)
    return group is not None and group.claimed_by == claimant


def fetch(connection: sqlite3.Connection, group_id: str, now: float) -> GroupRecord | None:
    """Return a group with its plan, or None if there is none (any more)."""
    row = connection.execute(
        _FETCH.replace("expires_at\n", "expires_at, plan\n"), (group_id, now)
    ).fetchone()
    return None if row is None else _record(group_id, row)


def members(
    connection: sqlite3.Connection,
    group_id: str,
    *,
    after: int,
    limit: int,
    failed: bool | None,
    now: float,
) -> list[MemberRecord]:
    """Return members by index."""
    check_page(after, limit)
    _known(connection, group_id, now)
    found: list[MemberRecord] = []
    while len(found) < limit:
        wanted = limit - len(found)
        rows = connection.execute(
            _MEMBERS.format(condition=_CONDITION[failed]), (group_id, after, wanted)
        ).fetchall()
        for row in rows:
            after = row[0]
            try:
                state = TaskState(row[2])
            except ValueError as error:
                SKIPPED.note(row[1], error)
                continue
            found.append(
                MemberRecord(index=row[0], task_id=row[1], state=state, value=row[3], error=row[4])
            )
        if len(rows) < wanted:
            break
    return found


def purge(connection: sqlite3.Connection, now: float) -> int:
    """Remove the expired groups, and return their number."""
    expired = connection.execute("SELECT group_id FROM stem_groups WHERE expires_at <= ?", (now,))
    group_ids = [group_id for (group_id,) in expired.fetchall()]
    for group_id in group_ids:
        _remove(connection, group_id)
    return len(group_ids)


def _store(connection: sqlite3.Connection, one: MemberReport) -> Change:
    values = (one.group_id, one.index, one.task_id, one.state.value, one.value, writable(one.error))
    if connection.execute(_ADD, values).rowcount == 1:
        return Change.ADDED
    if one.failed:
        return Change.NOTHING
    mended = connection.execute(
        _MEND, (one.task_id, one.state.value, one.value, one.group_id, one.index)
    )
    return Change.MENDED if mended.rowcount == 1 else Change.NOTHING


def _count(connection: sqlite3.Connection, changes: Sequence[tuple[MemberReport, Change]]) -> None:
    """Count what has changed: one statement for each group."""
    groups: dict[str, list[tuple[MemberReport, Change]]] = {}
    for report, change in changes:
        groups.setdefault(report.group_id, []).append((report, change))
    for group_id, some in groups.items():
        added = [report for report, change in some if change is Change.ADDED]
        failures = [report for report in added if report.failed]
        first = min(failures, key=lambda report: report.index, default=None)
        error = None if first is None else writable(first.error)
        index = None if first is None else first.index
        mended = len(some) - len(added)
        connection.execute(_COUNT, (len(added), len(failures) - mended, error, index, group_id))


def _live(connection: sqlite3.Connection, group_id: str, now: float) -> GroupRecord | None:
    row = connection.execute(_FETCH, (group_id, now)).fetchone()
    return None if row is None else _record(group_id, row)


def _known(connection: sqlite3.Connection, group_id: str, now: float) -> GroupRecord:
    group = _live(connection, group_id, now)
    if group is None:
        raise unknown_group(group_id)
    return group


def _record(group_id: str, row: Sequence[Any]) -> GroupRecord:
    size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at, *plan = row
    return GroupRecord(
        group_id=group_id,
        size=size,
        sealed=bool(sealed),
        done=done,
        failed=failed,
        plan=plan[0] if plan else b"",
        claimed_by=claimed_by,
        first_failed=first_failed,
        first_error=first_error,
        expires_at=expires_at,
    )


def _remove(connection: sqlite3.Connection, group_id: str) -> None:
    for table in ("stem_group_members", "stem_group_expansions", "stem_groups"):
        connection.execute(f"DELETE FROM {table} WHERE group_id = ?", (group_id,))  # noqa: S608
