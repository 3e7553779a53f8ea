"""Data of groups: the record of a group, the report of a member, the record of a member."""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.states import TaskState


# not frozen: one is created for each report, and a frozen one takes several times as long
@dataclass(kw_only=True, slots=True)
class GroupRecord:
    """The record of a group: counts, never its members.

    Args:
        group_id: the group.
        size: number of its members so far.
        sealed: whether no more members can be added.
        done: number of members that have ended.
        failed: number of those that ended otherwise than ``succeeded``.
        plan: what follows the group, as `create_group` was given it. Empty in the records that
            `report_members` returns: a plan can be large, and few reports need it.
        claimed_by: the claimant of the complete group, or None.
        first_failed: the index of the member whose failure was reported first; of several in one batch,
            the one with the lowest index. It stays when the member succeeds after a replay.
        first_error: type and message of that member's error.
        expires_at: seconds since the epoch until which the group is kept.
    """

    group_id: str
    size: int
    sealed: bool = True
    done: int = 0
    failed: int = 0
    plan: bytes = b""
    claimed_by: str | None = None
    first_failed: int | None = None
    first_error: str | None = None
    expires_at: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every member has ended, and none can be added."""
        return self.sealed and self.done >= self.size

    def at(self, done: int, failed: int) -> GroupRecord:
        """Return this record with other counts, without its plan; `dataclasses.replace` takes longer."""
        return GroupRecord(
            group_id=self.group_id,
            size=self.size,
            sealed=self.sealed,
            done=done,
            failed=failed,
            claimed_by=self.claimed_by,
            first_failed=self.first_failed,
            first_error=self.first_error,
            expires_at=self.expires_at,
        )

    @property
    def succeeded(self) -> int:
        """The number of members that succeeded."""
        return self.done - self.failed


# not frozen, as above
@dataclass(kw_only=True, slots=True)
class MemberReport:
    """The report that a member of a group has ended.

    Args:
        group_id: the group.
        index: the member's place in the group, from 0. A member is counted once by its index.
        task_id: the task whose end is the member's end.
        state: the final state.
        value: the JSON bytes of the result, if it succeeded.
        error: type and message of the exception, if it did not.
    """

    group_id: str
    index: int
    task_id: str
    state: TaskState
    value: bytes | None = None
    error: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the member ended otherwise than ``succeeded``."""
        return self.state is not TaskState.SUCCEEDED


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberRecord:
    """The record of a member that has ended.

    Args:
        index: its place in the group, from 0.
        task_id: the task whose end was reported.
        state: its final state.
        value: the JSON bytes of its result, if it succeeded.
        error: type and message of the exception, if it did not.
    """

    index: int
    task_id: str
    state: TaskState
    value: bytes | None = None
    error: str | None = None
