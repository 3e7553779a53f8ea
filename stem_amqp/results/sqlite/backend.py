"""The result backend in one SQLite file: ``sqlite:///results.db``, for one machine.

Several processes can use the file. Every batch of changes is one transaction, which is on the disk
when `SqliteBackend.transition` returns, so results survive restarts and power failures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.limits.base import LimitStore
from stem_amqp.limits.sqlite import SqliteLimits
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
from stem_amqp.results.listing import ALL, select_page
from stem_amqp.results.records import PURGE_INTERVAL
from stem_amqp.results.sqlite import groups as sqlite_groups
from stem_amqp.results.sqlite import keys as sqlite_keys
from stem_amqp.results.sqlite import listing as sqlite_listing
from stem_amqp.results.sqlite import tasks as sqlite_tasks
from stem_amqp.results.sqlite.thread import SqliteThread
from stem_amqp.results.sqlite.watch import SqliteWatch
from stem_amqp.results.unreadable import Unread
from stem_amqp.results.waiters import Waiters
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.schedule_store.sqlite import SqliteSchedules
from stem_amqp.states import TaskState

_PURGE_LIMIT = 500
"""Records removed in one transaction, so that it does not block other writers for long."""


class SqliteBackend(ResultBackend):
    """Results in a SQLite file.

    A task that ends in this process wakes its waiters here at once; one that ends in another
    process is seen within 0.1 s.

    Args:
        path: the file; it is created if it does not exist, but its directory is not.
        clock: the time that TTLs are measured with.
        namespace: separates the limits of namespaces that share the file.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, path: Path, clock: Clock, namespace: str = "") -> None:
        self._clock = clock
        self._namespace = namespace
        self._thread = SqliteThread(path)
        self._waiters = Waiters()
        self._watch = SqliteWatch(self._thread, self._waiters, clock)
        self._purged_at = 0.0

    @override
    async def open(self) -> None:
        """Open the file, and create or migrate its schema.

        Raises:
            ConfigurationError: the file cannot be used as a result store.
            BackendUnavailableError: it cannot be used now.
        """
        if self._thread.is_open:
            return
        await self._thread.open()
        self._waiters = Waiters()
        self._watch = SqliteWatch(self._thread, self._waiters, self._clock)

    @override
    async def close(self) -> None:
        self._waiters.close()
        await self._watch.close()
        await self._thread.close()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes in one transaction, in the given order."""
        now = self._clock.time()
        # A waiter that begins later also reads the record later, in the same thread.
        awaited = [
            change.task_id
            for change in changes
            if change.state.final and change.task_id in self._waiters
        ]

        def store(connection: sqlite3.Connection) -> tuple[list[bool], list[TaskRecord]]:
            accepted = sqlite_tasks.store_transitions(connection, changes, now)
            self._purge_if_due(connection, now)
            ended = sqlite_tasks.fetch_ended(connection, awaited, now) if awaited else []
            return accepted, ended

        accepted, ended = await self._thread.write(store)
        for record in ended:
            self._waiters.ended(record)
        return accepted

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress in one transaction."""
        now = self._clock.time()
        await self._thread.write(
            lambda connection: sqlite_tasks.store_progress(connection, updates, now)
        )

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_tasks.fetch(connection, task_id, now)
        )

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, here or in another process.

        Raises:
            ResultTimeoutError: it did not end in time.
        """

        async def look_up() -> TaskRecord | None:
            record = await self.get(task_id)
            if record is None or not record.state.final:
                self._watch.begin()
            return record

        return await self._waiters.wait(task_id, timeout, look_up)

    @override
    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        now = self._clock.time()

        async def scan(place: Position | None, number: int) -> list[TaskRecord | Unread]:
            return await self._thread.read(
                lambda connection: sqlite_listing.find(
                    connection, query, after=place, limit=number, now=now
                )
            )

        return await select_page(query, scan, after, limit)

    @override
    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        if query.has_globs:
            return await super().count_tasks(query)
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_listing.count(connection, query, now)
        )

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        now = self._clock.time()
        await self._thread.write(
            lambda connection: sqlite_groups.create(
                connection, group_id, size, ttl=ttl, plan=plan, sealed=sealed, now=now
            )
        )

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.expand(connection, group_id, count, addition, now=now)
        )

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.seal(connection, group_id, now)
        )

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Store the ends of members in one transaction."""
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.report(connection, reports, now)
        )

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.claim(connection, group_id, claimant, now)
        )

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_groups.fetch(connection, group_id, now)
        )

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_groups.members(
                connection, group_id, after=after, limit=limit, failed=failed, now=now
            )
        )

    @override
    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.claim(connection, key, owner, ttl=ttl, now=now)
        )

    @override
    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.keep(
                connection, key, owner, ttl=ttl, value=value, now=now
            )
        )

    @override
    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.swap(
                connection, key, owner, ttl=ttl, expected=expected, value=value, now=now
            )
        )

    @override
    async def release_key(self, key: str, owner: str) -> bool:
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.release(connection, key, owner, now)
        )

    @override
    def limits(self, clock: Clock | None = None) -> LimitStore:
        return SqliteLimits(self._thread, self._namespace, clock or self._clock)

    @override
    def schedules(self) -> ScheduleStore:
        return SqliteSchedules(self._thread, self._namespace)

    @override
    async def purge_expired(self) -> int:
        now = self._clock.time()
        removed = await self._thread.write(
            lambda connection: (
                sqlite_groups.purge(connection, now) + sqlite_keys.purge(connection, now)
            )
        )
        while True:
            some = await self._thread.write(
                lambda connection: sqlite_tasks.purge(connection, now, _PURGE_LIMIT)
            )
            removed += some
            if some < _PURGE_LIMIT:
                return removed

    @override
    async def ping(self) -> None:
        """Make sure that the file can be read."""

        def read(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM stem_tasks WHERE task_id = ''").fetchone()

        await self._thread.read(read)

    def _purge_if_due(self, connection: sqlite3.Connection, now: float) -> None:
        """Remove some expired records; called only in the thread."""
        if now - self._purged_at < PURGE_INTERVAL:
            return
        sqlite_groups.purge(connection, now)
        sqlite_keys.purge(connection, now)
        if sqlite_tasks.purge(connection, now, _PURGE_LIMIT) < _PURGE_LIMIT:
            self._purged_at = now
