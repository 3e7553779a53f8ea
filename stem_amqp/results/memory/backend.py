"""The result backend in the memory of this process: ``memory://``, for tests and for work without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.event_loop import running_loop
from stem_amqp.limits.base import LimitStore
from stem_amqp.limits.memory import MemoryLimits, MemoryShelf
from stem_amqp.results.base import (
    GroupRecord,
    KeyRecord,
    MemberRecord,
    MemberReport,
    Position,
    ProgressUpdate,
    ResultBackend,
    TaskQuery,
    TaskRecord,
    Transition,
)
from stem_amqp.results.memory.groups import MemoryGroups
from stem_amqp.results.memory.keys import MemoryKeys
from stem_amqp.results.store import RecordStore
from stem_amqp.results.waiters import Waiters
from stem_amqp.schedule_store.base import ScheduleRecord, ScheduleStore
from stem_amqp.schedule_store.memory import MemorySchedules


@dataclass(kw_only=True, slots=True)
class MemoryStore:
    """The data that backends of the same name share.

    Args:
        tasks: the records of tasks.
        groups: the groups by their id.
        keys: the keys of unique tasks and guarded blocks.
        limits: the state of limits across workers, by namespace.
        schedules: the stored schedules, by namespace.
    """

    tasks: RecordStore = field(default_factory=RecordStore)
    groups: MemoryGroups = field(default_factory=MemoryGroups)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    limits: dict[str, MemoryShelf] = field(default_factory=dict)
    schedules: dict[str, dict[str, ScheduleRecord]] = field(default_factory=dict)

    _named: ClassVar[dict[str, MemoryStore]] = {}

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """Return this process's store of a name; it is created on first use and kept until `forget`.

        Args:
            name: the part of the URL after ``memory://``.
        """
        return cls._named.setdefault(name, cls())

    @classmethod
    def forget(cls, name: str) -> None:
        """Discard a store, so that the next `named` creates a new, empty one."""
        cls._named.pop(name, None)


class MemoryBackend(ResultBackend):
    """Results in the memory of this process, which are lost when it ends.

    Args:
        store: the data; backends with the same store see the same results.
        clock: the time that TTLs are measured with.
        namespace: separates the limits of namespaces that share the store.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, store: MemoryStore, clock: Clock, namespace: str = "") -> None:
        self._store = store
        self._clock = clock
        self._namespace = namespace
        self._waiters = Waiters()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False

    @override
    async def open(self) -> None:
        """Open the backend; opening it again after `close` is not an error."""
        self.begin()

    def begin(self) -> None:
        """Open without waiting, for synchronous code; see `open`."""
        if not self._open:
            self._open = True
            self._waiters = Waiters()
            self._store.tasks.listeners[self] = self._ended

    @override
    async def close(self) -> None:
        """Cancel this backend's waiters; the store stays."""
        self._open = False
        self._store.tasks.listeners.pop(self, None)
        self._waiters.close()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes, in the given order."""
        self._check_open()
        now = self._clock.time()
        return [self._store.tasks.apply(change, now) for change in changes]

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        self._check_open()
        now = self._clock.time()
        for update in updates:
            self._store.tasks.progress(update, now)

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        self._check_open()
        return self._store.tasks.get(task_id, self._clock.time())

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        self._loop = asyncio.get_running_loop()
        return await self._waiters.wait(task_id, timeout, lambda: self.get(task_id))

    def _ended(self, record: TaskRecord) -> None:
        loop = self._loop
        if loop is None or record.task_id not in self._waiters:
            return
        if loop is running_loop():
            self._waiters.ended(record)
            return
        # The store is shared by event loops in several threads, such as a blocking producer's: a
        # future that is set from another thread does not wake its loop.
        with suppress(RuntimeError):  # the loop is closed, and nothing in it waits
            loop.call_soon_threadsafe(self._waiters.ended, record)

    @override
    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        self._check_open()
        return self._store.tasks.find(query, after, limit, self._clock.time())

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        now = self._now()
        self._store.groups.create(group_id, size, ttl=ttl, plan=plan, sealed=sealed, now=now)

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        return self._store.groups.expand(group_id, count, addition, self._now())

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        return self._store.groups.seal(group_id, self._now())

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        return self._store.groups.report(reports, self._now())

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        return self._store.groups.claim(group_id, claimant, self._now())

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        return self._store.groups.get(group_id, self._now())

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        now = self._now()
        return self._store.groups.members(
            group_id, after=after, limit=limit, failed=failed, now=now
        )

    @override
    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        self._check_open()
        return self._store.keys.claim(key, owner, ttl, self._clock.time())

    @override
    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        self._check_open()
        return self._store.keys.keep(key, owner, ttl, value, self._clock.time())

    @override
    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        self._check_open()
        return self._store.keys.swap(key, owner, ttl, expected, value, self._clock.time())

    @override
    async def release_key(self, key: str, owner: str) -> bool:
        self._check_open()
        return self._store.keys.release(key, owner, self._clock.time())

    @override
    def limits(self, clock: Clock | None = None) -> LimitStore:
        shelf = self._store.limits.setdefault(self._namespace, MemoryShelf())
        return MemoryLimits(shelf, clock or self._clock)

    @override
    def schedules(self) -> ScheduleStore:
        return MemorySchedules(self._store.schedules.setdefault(self._namespace, {}))

    @override
    async def purge_expired(self) -> int:
        now, store = self._clock.time(), self._store
        return store.groups.purge(now) + store.tasks.purge(now) + store.keys.purge(now)

    @override
    async def ping(self) -> None:
        """Make sure that it is open.

        Raises:
            BackendUnavailableError: it is not.
        """
        self._check_open()

    def _check_open(self) -> None:
        if not self._open:
            raise BackendUnavailableError("the memory result backend is not open")

    def _now(self) -> float:
        """Return the time, if the backend is open."""
        self._check_open()
        return self._clock.time()
