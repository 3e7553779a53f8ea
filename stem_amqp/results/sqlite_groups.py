"""Groups in SQLite. Everything here runs in the backend's one thread, inside a transaction."""

from __future__ import annotations

import sqlite3

from stem_amqp.results.base import GroupRecord
from stem_amqp.results.groups import check_same_size, unknown_group
from stem_amqp.states import TaskState


def create(
    connection: sqlite3.Connection, group_id: str, size: int, *, now: float, ttl: float
) -> None:
    """Create a group; creating it again with the same size is no error.

    Raises:
        ConfigurationError: it exists with another size.
    """
    existing = _live(connection, group_id, now)
    if existing is not None:
        check_same_size(group_id, size, existing[0])
        return
    _remove(connection, group_id)
    connection.execute(
        "INSERT INTO stem_groups (group_id, size, expires_at) VALUES (?, ?, ?)",
        (group_id, size, now + ttl),
    )


def report(
    connection: sqlite3.Connection, group_id: str, task_id: str, state: TaskState, now: float
) -> GroupRecord:
    """Note that a member has ended; only its first report counts.

    Raises:
        ResultUnavailableError: there is no such group (any more).
    """
    if _live(connection, group_id, now) is None:
        raise unknown_group(group_id)
    connection.execute(
        "INSERT INTO stem_group_members (group_id, task_id, state) VALUES (?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (group_id, task_id, state.value),
    )
    group = fetch(connection, group_id, now)
    if group is None:
        raise unknown_group(group_id)
    return group


def claim(connection: sqlite3.Connection, group_id: str, claimant: str, now: float) -> bool:
    """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
    connection.execute(
        "UPDATE stem_groups SET claimed_by = :claimant"
        " WHERE group_id = :group_id AND expires_at > :now AND claimed_by IS NULL AND size <="
        " (SELECT count(*) FROM stem_group_members WHERE group_id = :group_id)",
        {"claimant": claimant, "group_id": group_id, "now": now},
    )
    group = _live(connection, group_id, now)
    return group is not None and group[1] == claimant


def fetch(connection: sqlite3.Connection, group_id: str, now: float) -> GroupRecord | None:
    """Return a group, or None if there is none (any more)."""
    group = _live(connection, group_id, now)
    if group is None:
        return None
    members = connection.execute(
        "SELECT task_id, state FROM stem_group_members WHERE group_id = ?", (group_id,)
    )
    return GroupRecord(
        group_id=group_id,
        size=group[0],
        members={task_id: TaskState(state) for task_id, state in members},
        claimed_by=group[1],
    )


def purge(connection: sqlite3.Connection, now: float) -> int:
    """Remove the expired groups, and return how many that were."""
    expired = connection.execute("SELECT group_id FROM stem_groups WHERE expires_at <= ?", (now,))
    group_ids = [group_id for (group_id,) in expired.fetchall()]
    for group_id in group_ids:
        _remove(connection, group_id)
    return len(group_ids)


def _live(
    connection: sqlite3.Connection, group_id: str, now: float
) -> tuple[int, str | None] | None:
    row: tuple[int, str | None] | None = connection.execute(
        "SELECT size, claimed_by FROM stem_groups WHERE group_id = ? AND expires_at > ?",
        (group_id, now),
    ).fetchone()
    return row


def _remove(connection: sqlite3.Connection, group_id: str) -> None:
    connection.execute("DELETE FROM stem_group_members WHERE group_id = ?", (group_id,))
    connection.execute("DELETE FROM stem_groups WHERE group_id = ?", (group_id,))
