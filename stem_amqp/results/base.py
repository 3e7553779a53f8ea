"""The contract of a result backend: guarded transitions, progress, waiting, groups, lists, keys.

Everything that is written comes in batches, so that a store can use one round trip, one statement or
one transaction for many tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.listing import (
    ALL,
    PAGE_LIMIT,
    Position,
    TaskPage,
    TaskQuery,
    check_limit,
    position_of,
)
from stem_amqp.results.model import (
    GroupRecord,
    KeyRecord,
    Progress,
    ProgressUpdate,
    TaskRecord,
    Transition,
)
from stem_amqp.states import TaskState

__all__ = [
    "GroupRecord",
    "KeyRecord",
    "Position",
    "Progress",
    "ProgressUpdate",
    "ResultBackend",
    "TaskPage",
    "TaskQuery",
    "TaskRecord",
    "Transition",
]


class ResultBackend(ABC):
    """A store for task results and group state.

    Attributes:
        keeps_states: whether states before the end (queued, running) are worth sending to it.
        needs_reply: whether producers must give a `reply_address` with their messages.
        keeps_keys: whether it has `claim_key`, `keep_key` and `release_key`.
        lists_tasks: whether it has `find_tasks`.
    """

    keeps_states: bool = True
    needs_reply: bool = False
    keeps_keys: bool = False
    lists_tasks: bool = False

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create or migrate the schema.

        Raises:
            BackendUnavailableError: the store cannot be reached.
            ConfigurationError: the URL cannot be used.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close it; closing twice is no error, and waiters are cancelled."""

    async def reply_address(self) -> str | None:
        """Return the address for ``reply_to``, for backends that reply to the producer."""
        return None

    @abstractmethod
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes durably, in the given order.

        Args:
            changes: any number, also several of one task.

        Returns:
            For each whether it was accepted; False where it would have gone backwards.

        Raises:
            BackendUnavailableError: none of them is known to be stored; repeating is safe.
        """

    @abstractmethod
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress; that of tasks that are unknown or have ended is ignored.

        Raises:
            BackendUnavailableError: as for `transition`.
        """

    @abstractmethod
    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""

    @abstractmethod
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, by push and not by polling where the store can.

        Args:
            task_id: the task; it need not be known yet.
            timeout: seconds; None waits for ever.

        Raises:
            ResultTimeoutError: it did not end in time.
        """

    async def list_tasks(
        self, query: TaskQuery = ALL, *, cursor: str | None = None, limit: int = 50
    ) -> TaskPage:
        """List tasks, the newest first unless the query says otherwise.

        Pages are stable: whatever is added or changes meanwhile, a task that fits all the time is
        listed once.

        Args:
            query: which tasks.
            cursor: that of the page before; None for the first page.
            limit: records of the page, 1 to 1,000.

        Raises:
            ConfigurationError: this backend makes no lists, or the cursor or the limit is none.
            BackendUnavailableError: the store does not answer.
        """
        check_limit(limit)
        found = await self.find_tasks(query, after=query.position(cursor), limit=limit + 1)
        return TaskPage.of(query, found, limit)

    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        """Count tasks by their state; a state that none is in is left out.

        Raises:
            ConfigurationError: this backend makes no lists.
            BackendUnavailableError: the store does not answer.
        """
        counts: dict[TaskState, int] = {}
        after = None
        while True:
            found = await self.find_tasks(query, after=after, limit=PAGE_LIMIT)
            for record in found:
                counts[record.state] = counts.get(record.state, 0) + 1
            if len(found) < PAGE_LIMIT:
                return counts
            after = position_of(found[-1])

    async def find_tasks(
        self,
        query: TaskQuery,  # noqa: ARG002
        *,
        after: Position | None,  # noqa: ARG002
        limit: int,  # noqa: ARG002
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order; what `list_tasks` is made of.

        Args:
            query: which tasks; `TaskQuery.matches` says so of a record.
            after: begin after this place; None begins with the first.
            limit: records at most. Fewer say that there are no more.

        Raises:
            ConfigurationError: this backend makes no lists.
            BackendUnavailableError: the store does not answer.
        """
        raise ConfigurationError(
            f"tasks can only be listed from a result backend that stores them, which"
            f" {type(self).__name__} does not.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers (memory:// for tests)."
        )

    @abstractmethod
    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Args:
            group_id: the group.
            size: number of members, at least 1.
            ttl: seconds that the group is kept.

        Raises:
            ConfigurationError: it exists with another size.
        """

    @abstractmethod
    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Returns:
            The group after the report.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """

    @abstractmethod
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again.

        So a winner that crashed before it acted can act after its redelivery.

        Args:
            group_id: the group.
            claimant: a stable name, such as the task id of the last member.

        Returns:
            Whether the claimant is the winner; False also while the group is not complete.
        """

    @abstractmethod
    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:  # noqa: ARG002
        """Take a key that nobody holds; of any number of claimants exactly one wins.

        The owner of a key without a value wins again, and its time begins anew. A key with a value
        stays as it is.

        Args:
            key: any text. Where several namespaces share a store that knows none (a file, this
                process), it must name the namespace.
            owner: a name that is nobody else's.
            ttl: seconds that the owner holds it.

        Returns:
            The key as it stands now: the claimant has won if it is the owner.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: it is not known to be taken; repeating is safe.
        """
        raise self._keeps_no_keys()

    async def keep_key(
        self,
        key: str,  # noqa: ARG002
        owner: str,  # noqa: ARG002
        *,
        ttl: float,  # noqa: ARG002
        value: bytes | None = None,  # noqa: ARG002
    ) -> bool:
        """Hold a key for longer, and put a value there.

        Args:
            key: the key.
            owner: who holds it.
            ttl: seconds from now.
            value: None leaves what is there.

        Returns:
            Whether the owner still held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keeps_no_keys()

    async def release_key(self, key: str, owner: str) -> bool:  # noqa: ARG002
        """Let a key go, whatever its value.

        Returns:
            Whether the owner held it; otherwise nothing was changed.

        Raises:
            ConfigurationError: this backend keeps no keys.
            BackendUnavailableError: as for `claim_key`.
        """
        raise self._keeps_no_keys()

    def _keeps_no_keys(self) -> ConfigurationError:
        return ConfigurationError(
            f"unique tasks and ctx.once need a result backend that stores keys, which"
            f" {type(self).__name__} does not.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers (memory:// for tests)."
        )

    @abstractmethod
    async def purge_expired(self) -> int:
        """Remove what is past its TTL, and return how many records that were."""

    @abstractmethod
    async def ping(self) -> None:
        """Make sure that the store answers.

        Raises:
            BackendUnavailableError: it does not.
        """
