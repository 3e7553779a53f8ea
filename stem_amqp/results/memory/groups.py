"""Groups in the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from stem_amqp.results.groups.checks import (
    check_count,
    check_page,
    check_same_size,
    check_size,
    sealed_group,
    unknown_group,
)
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.states import TaskState


@dataclass(kw_only=True, slots=True)
class StoredGroup:
    """A group.

    Args:
        record: its record, with the plan.
        members: the members that have ended, by index.
        expansions: the first index of each addition, by its name.
    """

    record: GroupRecord
    members: dict[int, MemberRecord] = field(default_factory=dict)
    expansions: dict[str, int] = field(default_factory=dict)

    def report(self, report: MemberReport) -> GroupRecord | None:
        """Store a member's end; see `GroupStore.report_members`."""
        group, index = self.record, report.index
        if not 0 <= index < group.size:
            return None
        before = self.members.get(index)
        if before is None:
            failed = group.failed + report.failed
            group = replace(group, done=group.done + 1, failed=failed)
            if report.failed and group.first_failed is None:
                group = replace(group, first_failed=index, first_error=report.error)
        elif before.state is not TaskState.SUCCEEDED and not report.failed:
            group = replace(group, failed=group.failed - 1)
        else:
            return group
        self.record = group
        self.members[index] = MemberRecord(
            index=index,
            task_id=report.task_id,
            state=report.state,
            value=report.value,
            error=report.error,
        )
        return group

    def page(self, after: int, limit: int, failed: bool | None) -> list[MemberRecord]:
        """Return members by index."""
        found: list[MemberRecord] = []
        for index in range(after + 1, self.record.size):
            member = self.members.get(index)
            if member is None or failed is (member.state is TaskState.SUCCEEDED):
                continue
            found.append(member)
            if len(found) == limit:
                break
        return found


class MemoryGroups:
    """Groups by their id. No method awaits anything, so each is atomic in its event loop."""

    def __init__(self) -> None:
        self._groups: dict[str, StoredGroup] = {}

    def create(
        self, group_id: str, size: int, *, ttl: float, plan: bytes, sealed: bool, now: float
    ) -> None:
        """Create a group, if it does not exist."""
        check_size(group_id, size)
        group = self._live(group_id, now)
        if group is not None:
            check_same_size(group_id, size, group.record.size, sealed=sealed)
            return
        record = GroupRecord(
            group_id=group_id, size=size, sealed=sealed, plan=plan, expires_at=now + ttl
        )
        self._groups[group_id] = StoredGroup(record=record)

    def expand(self, group_id: str, count: int, addition: str, now: float) -> int:
        """Add members, and return the index of the first."""
        check_count(group_id, count)
        group = self._known(group_id, now)
        if addition in group.expansions:
            return group.expansions[addition]
        if group.record.sealed:
            raise sealed_group(group_id)
        first = group.expansions[addition] = group.record.size
        group.record = replace(group.record, size=first + count)
        return first

    def seal(self, group_id: str, now: float) -> GroupRecord:
        """Seal a group, and return it."""
        group = self._known(group_id, now)
        group.record = replace(group.record, sealed=True)
        return replace(group.record, plan=b"")

    def report(self, reports: Sequence[MemberReport], now: float) -> list[GroupRecord | None]:
        """Store the ends of members, and return the group after each."""
        after: list[GroupRecord | None] = []
        for report in reports:
            group = self._live(report.group_id, now)
            record = None if group is None else group.report(report)
            after.append(
                replace(record, plan=b"") if record is not None and record.plan else record
            )
        return after

    def claim(self, group_id: str, claimant: str, now: float) -> bool:
        """Claim a complete group, and return whether the claimant has won."""
        group = self._live(group_id, now)
        if group is None or not group.record.complete:
            return False
        if group.record.claimed_by is None:
            group.record = replace(group.record, claimed_by=claimant)
        return group.record.claimed_by == claimant

    def get(self, group_id: str, now: float) -> GroupRecord | None:
        """Return a group."""
        group = self._live(group_id, now)
        return None if group is None else group.record

    def members(
        self, group_id: str, *, after: int, limit: int, failed: bool | None, now: float
    ) -> list[MemberRecord]:
        """Return members by index."""
        check_page(after, limit)
        return self._known(group_id, now).page(after, limit, failed)

    def purge(self, now: float) -> int:
        """Remove the expired groups, and return their number."""
        expired = [
            group_id for group_id, group in self._groups.items() if group.record.expires_at <= now
        ]
        for group_id in expired:
            del self._groups[group_id]
        return len(expired)

    def _live(self, group_id: str, now: float) -> StoredGroup | None:
        group = self._groups.get(group_id)
        return None if group is None or group.record.expires_at <= now else group

    def _known(self, group_id: str, now: float) -> StoredGroup:
        group = self._live(group_id, now)
        if group is None:
            raise unknown_group(group_id)
        return group
