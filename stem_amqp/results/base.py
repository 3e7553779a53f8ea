"""The contract of a result backend, for authors of backends.

A backend stores one record for each task. The rules of states are not its concern: `changed` of
`stem_amqp.results.records` applies a change to a record, or returns None if the change must be refused.
The core of a backend in memory::

    class ShelfBackend(ResultBackend):
        async def transition(self, changes: Sequence[Transition]) -> list[bool]:
            return [self._apply(change) for change in changes]

        def _apply(self, change: Transition) -> bool:
            record = changed(self._records.get(change.task_id), change)
            if record is None:
                return False  # the change would set the task back
            self._records[change.task_id] = record
            if record.state.final:
                self._waiters.ended(record)
            return True

        async def get(self, task_id: str) -> TaskRecord | None:
            return self._records.get(task_id)

        async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
            return await self._waiters.wait(task_id, timeout, lambda: self.get(task_id))

Four rules hold for every method:

- Writes come in batches, so that a store can use one round trip, one statement or one transaction for
  many tasks. They are durable when the method returns.
- Several processes write to one store at the same time: reading and writing a record is one atomic step.
- A store that cannot be reached raises `BackendUnavailableError`. The caller repeats the call, so every
  write must be safe to repeat.
- Records expire: seconds of `ttl` are measured with `BackendParts.clock`, and an expired record does
  not exist.

Abstract methods are required: tasks, groups (`stem_amqp.results.groups.store`) and upkeep. Keys and lists are optional: a backend that
has them sets `keeps_keys` or `lists_tasks`. `ping`, `reply_address`, `list_tasks` and `count_tasks` have
defaults that need no change. ``stem_amqp.testing.backend_contract`` tests all of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from stem_amqp.clock import Clock
from stem_amqp.errors import ConfigurationError
from stem_amqp.limits.base import LimitStore
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.results.groups.store import GroupStore
from stem_amqp.results.keys import KeyStore
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
    KeyRecord,
    Progress,
    ProgressUpdate,
    TaskRecord,
    Transition,
)
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.states import TaskState

__all__ = [
    "GroupRecord",
    "KeyRecord",
    "MemberRecord",
    "MemberReport",
    "Position",
    "Progress",
    "ProgressUpdate",
    "ResultBackend",
    "TaskPage",
    "TaskQuery",
    "TaskRecord",
    "Transition",
]


class ResultBackend(KeyStore, GroupStore):
    """A store for task results and group state.

    Attributes:
        keeps_states: whether it stores states before the final one (queued, running).
        needs_reply: whether producers must put its `reply_address` into their messages.
        keeps_keys: whether it implements `claim_key`, `keep_key` and `release_key`, see
            `stem_amqp.results.keys.KeyStore`.
        group_limit: members of a group, at most; see `stem_amqp.results.groups.store.GroupStore`.
        lists_tasks: whether it implements `find_tasks`.
    """

    keeps_states: bool = True
    needs_reply: bool = False
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
        """Close the store, and cancel all waiters; closing twice is not an error."""

    async def reply_address(self) -> str | None:
        """Return the address for ``reply_to``, for backends that reply to the producer."""
        return None

    @abstractmethod
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes durably, in the given order.

        Args:
            changes: any number, also several of one task.

        Returns:
            For each change whether it was accepted; False if it would have set the task back.

        Raises:
            BackendUnavailableError: any of them may not be stored; repeating is safe.
        """

    @abstractmethod
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress; progress of tasks that are unknown or have ended is ignored.

        Raises:
            BackendUnavailableError: as for `transition`.
        """

    @abstractmethod
    async def get(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task, or None if there is none (any more)."""

    @abstractmethod
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, whichever process stores its final state.

        The store pushes the news where it can; polling is the last resort. `Waiters` of
        `stem_amqp.results.waiters` implements the waiting.

        Args:
            task_id: the task; it may still be unknown.
            timeout: seconds; None waits for ever.

        Raises:
            ResultTimeoutError: it did not end in time.
        """

    async def list_tasks(
        self, query: TaskQuery = ALL, *, cursor: str | None = None, limit: int = 50
    ) -> TaskPage:
        """List tasks, the newest first unless the query says otherwise.

        Pages are stable: a task that matches throughout is listed once, even if tasks are added or
        change meanwhile.

        Args:
            query: the conditions and the order.
            cursor: the cursor of the page before; None for the first page.
            limit: records of the page, 1 to 1,000.

        Raises:
            ConfigurationError: this backend does not list tasks, or the cursor or the limit is invalid.
            BackendUnavailableError: the store does not answer.
        """
        check_limit(limit)
        found = await self.find_tasks(query, after=query.position(cursor), limit=limit + 1)
        return TaskPage.of(query, found, limit)

    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        """Count tasks by their state; states without tasks are left out.

        Raises:
            ConfigurationError: this backend does not list tasks.
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
        """Return the records that match a query, in its order; `list_tasks` is built on it.

        Args:
            query: the conditions and the order; `TaskQuery.matches` evaluates the conditions.
            after: begin after this position; None begins with the first record.
            limit: records at most. Fewer mean that there are no more.

        Raises:
            ConfigurationError: this backend does not list tasks.
            BackendUnavailableError: the store does not answer.
        """
        raise ConfigurationError(
            f"tasks can only be listed from a result backend that stores them, which"
            f" {type(self).__name__} does not.\n"
            "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, the same for producers"
            " and workers (memory:// for tests)."
        )

    def limits(self, clock: Clock | None = None) -> LimitStore | None:  # noqa: ARG002
        """Return a store for limits across workers that uses this backend's connections.

        Args:
            clock: replaces the store's own clock, for tests.

        Returns:
            The store, not opened yet; None if this backend cannot keep limits.
        """
        return None

    def schedules(self) -> ScheduleStore | None:
        """Return a store for schedules that uses this backend's connections.

        Returns:
            The store, not opened yet; None if this backend cannot keep schedules.
        """
        return None

    @abstractmethod
    async def purge_expired(self) -> int:
        """Remove the expired records, and return their number."""

    async def ping(self) -> None:
        """Check that the store answers.

        Raises:
            BackendUnavailableError: it does not.
        """
        await self.get("")
