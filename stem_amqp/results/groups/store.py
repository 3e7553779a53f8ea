"""The part of a result backend that stores groups: how many members have ended, and with what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport


class GroupStore(ABC):
    """The groups of a result backend.

    No method reads all members of a group: a report costs the same in a group of 10 members and in one
    of 100,000. So a backend stores the counts, and changes them in the same atomic step as the members.

    Attributes:
        group_limit: members of a group, at most; None if there is no limit.
    """

    group_limit: int | None = None

    @abstractmethod
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        """Create a group; creating it again is not an error, and keeps the first plan and time.

        Args:
            group_id: the group.
            size: number of members; 0 or more.
            ttl: seconds for which the group is kept, from now on. No later call extends it.
            plan: what follows the group; any bytes.
            sealed: False for a group to which `expand_group` adds members later.

        Raises:
            ConfigurationError: it exists with another size, or the size exceeds `group_limit`.
            BackendUnavailableError: it may not be created; repeating is safe.
        """

    @abstractmethod
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        """Add members to a group that is not sealed.

        Args:
            group_id: the group.
            count: number of new members, at least 1.
            addition: a unique name of this addition. The same name again adds nothing, and returns the
                same index, so that repeating is safe, also after a crash if the name is deterministic.

        Returns:
            The index of the first new member; the others follow it.

        Raises:
            ConfigurationError: the group is sealed, or the size exceeds `group_limit`.
            ResultUnavailableError: there is no such group (any more).
            BackendUnavailableError: the members may not be added; repeating is safe.
        """

    @abstractmethod
    async def seal_group(self, group_id: str) -> GroupRecord:
        """Let nobody add members any more; sealing again is not an error.

        Returns:
            The group afterwards, without its plan. This may have made it complete.

        Raises:
            ResultUnavailableError: there is no such group (any more).
            BackendUnavailableError: it may not be sealed; repeating is safe.
        """

    @abstractmethod
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Store that members have ended: any number, also of several groups, in one round trip.

        The first report of a member counts. A later one with ``succeeded`` replaces one that failed,
        as after a replay of its dead letter; every other later report changes nothing.

        Returns:
            For each report the group as it is after this report and those before it, without its plan.
            So of the new reports of one batch only the last shows a complete group; a repeated report
            shows the group at its place in the batch. None: there is no such group (any more), or it has
            no member with that index.

        Raises:
            BackendUnavailableError: any of them may not be stored; repeating is safe.
        """

    @abstractmethod
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again.

        A winner that crashed before it acted can therefore act after its redelivery.

        Args:
            group_id: the group.
            claimant: a stable name, such as a text in the body of the message that claims.

        Returns:
            Whether the claimant is the winner; False also while the group is not complete.
        """

    @abstractmethod
    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group with its counts and its plan, or None if there is none (any more)."""

    @abstractmethod
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        """Return members that have ended, by their index.

        Args:
            group_id: the group.
            after: begin with the member after this index.
            limit: members at most, at least 1. Fewer mean that there are no more so far.
            failed: True for those that failed, False for those that succeeded, None for both.

        Raises:
            ResultUnavailableError: there is no such group (any more).
            BackendUnavailableError: the store does not answer.
        """
