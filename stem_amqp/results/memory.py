"""The result backend in this process: ``memory://``, for tests and for work without a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from stem_amqp.clock import Clock
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.base import (
    GroupRecord,
    KeyRecord,
    Position,
    ProgressUpdate,
    ResultBackend,
    TaskQuery,
    TaskRecord,
    Transition,
)
from stem_amqp.results.groups import check_same_size, check_size, unknown_group
from stem_amqp.results.memory_keys import MemoryKeys
from stem_amqp.results.store import RecordStore
from stem_amqp.results.waiters import Waiters
from stem_amqp.states import TaskState


@dataclass(kw_only=True, slots=True)
class StoredGroup:
    """A group with the time at which it is forgotten.

    Args:
        record: the group.
        expires: seconds since the epoch.
    """

    record: GroupRecord
    expires: float


@dataclass(kw_only=True, slots=True)
class MemoryStore:
    """What the backends of one name share.

    Args:
        tasks: the records of tasks.
        groups: the groups by their id.
        keys: the keys of unique tasks and guarded blocks.
    """

    tasks: RecordStore = field(default_factory=RecordStore)
    groups: dict[str, StoredGroup] = field(default_factory=dict)
    keys: MemoryKeys = field(default_factory=MemoryKeys)

    _named: ClassVar[dict[str, MemoryStore]] = {}

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return this process's store of a name; it is made on first use and stays until `forget`.

        Args:
            name: what stands after ``memory://``.
        """
        return cls._named.setdefault(name, cls())

    @classmethod
    def forget(cls, name: str) -> None:
        """Let the next `named` make a new, empty store."""
        cls._named.pop(name, None)


class MemoryBackend(ResultBackend):
    """Results in this process. They end with it.

    Args:
        store: where they are; backends with the same one see the same.
        clock: the time that TTLs are measured with.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiters = Waiters()
        self._open = False

    async def open(self) -> None:
        """Be ready; opening it again after `close` is no error."""
        self.begin()

    def begin(self) -> None:
        """Be ready, for those who cannot wait; see `open`."""
        if not self._open:
            self._open = True
            self._waiters = Waiters()
            self._store.tasks.listeners[self] = self._waiters.ended

    async def close(self) -> None:
        """Cancel this backend's waiters; the store stays."""
        self._open = False
        self._store.tasks.listeners.pop(self, None)
        self._waiters.close()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes, in the given order."""
        self._check_open()
        now = self._clock.time()
        return [self._store.tasks.apply(change, now) for change in changes]

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress."""
        self._check_open()
        now = self._clock.time()
        for update in updates:
            self._store.tasks.progress(update, now)

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""
        self._check_open()
        return self._store.tasks.get(task_id, self._clock.time())

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
        """
        return await self._waiters.wait(task_id, timeout, lambda: self.get(task_id))

    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order."""
        self._check_open()
        return self._store.tasks.find(query, after, limit, self._clock.time())

    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size.
        """
        check_size(group_id, size)
        group = self._group(group_id)
        if group is not None:
            check_same_size(group_id, size, group.record.size)
            return
        self._store.groups[group_id] = StoredGroup(
            record=GroupRecord(group_id=group_id, size=size), expires=self._clock.time() + ttl
        )

    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """
        group = self._group(group_id)
        if group is None:
            raise unknown_group(group_id)
        if task_id not in group.record.members:
            members = {**group.record.members, task_id: state}
            group.record = replace(group.record, members=members)
        return group.record

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
        group = self._group(group_id)
        if group is None or not group.record.complete:
            return False
        if group.record.claimed_by is None:
            group.record = replace(group.record, claimed_by=claimant)
        return group.record.claimed_by == claimant

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""
        group = self._group(group_id)
        return None if group is None else group.record

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        """Take a key that nobody holds; exactly one claimant wins, and wins again if it asks again."""
        self._check_open()
        return self._store.keys.claim(key, owner, ttl, self._clock.time())

    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        """Hold a key for longer, and put a value there, if the owner still holds it."""
        self._check_open()
        return self._store.keys.keep(key, owner, ttl, value, self._clock.time())

    async def release_key(self, key: str, owner: str) -> bool:
        """Let a key go, if the owner holds it."""
        self._check_open()
        return self._store.keys.release(key, owner, self._clock.time())

    async def purge_expired(self) -> int:
        """Remove what is past its TTL, and return how many records that were."""
        now = self._clock.time()
        groups = self._store.groups
        expired = [group_id for group_id, group in groups.items() if group.expires <= now]
        for group_id in expired:
            del groups[group_id]
        return len(expired) + self._store.tasks.purge(now) + self._store.keys.purge(now)

    async def ping(self) -> None:
        """Make sure that it is open.

        Raises:
            BackendUnavailableError: it is not.
        """
        self._check_open()

    def _check_open(self) -> None:
        if not self._open:
            raise BackendUnavailableError("the memory result backend is not open")

    def _group(self, group_id: str) -> StoredGroup | None:
        self._check_open()
        group = self._store.groups.get(group_id)
        return None if group is None or group.expires <= self._clock.time() else group
