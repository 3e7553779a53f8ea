"""The result backend in one SQLite file: ``sqlite:///results.db``, for one machine.

Several processes can use the file. Every batch of changes is one transaction, on the disk before
`SqliteBackend.transition` returns, so results survive restarts and power failures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from stem_amqp.clock import Clock
from stem_amqp.results import sqlite_groups, sqlite_keys, sqlite_listing, sqlite_tasks
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
from stem_amqp.results.groups import check_size
from stem_amqp.results.listing import ALL, sift
from stem_amqp.results.records import PURGE_INTERVAL
from stem_amqp.results.sqlite_thread import SqliteThread
from stem_amqp.results.sqlite_watch import SqliteWatch
from stem_amqp.results.waiters import Waiters
from stem_amqp.states import TaskState

_PURGE_LIMIT = 500
"""Records removed in one transaction, so that other writers get their turn."""


class SqliteBackend(ResultBackend):
    """Results in a SQLite file.

    A task that ends in this process wakes its waiters here at once; one that ends in another
    process is seen within 0.1 s.

    Args:
        path: the file; it is created if it is not there, its directory is not.
        clock: the time that TTLs are measured with.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._thread = SqliteThread(path)
        self._waiters = Waiters()
        self._watch = SqliteWatch(self._thread, self._waiters, clock)
        self._purged_at = 0.0

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

    async def close(self) -> None:
        """Close the file, and cancel who waits."""
        self._waiters.close()
        await self._watch.close()
        await self._thread.close()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes in one transaction, in the given order."""
        now = self._clock.time()
        # Who begins to wait later looks for the record later too, in the same thread.
        awaited = [
            change.task_id
            for change in changes
            if change.state.final and change.task_id in self._waiters
        ]

        def store(connection: sqlite3.Connection) -> tuple[list[bool], list[TaskRecord]]:
            accepted = sqlite_tasks.store_transitions(connection, changes, now)
            self._purge_now_and_then(connection, now)
            ended = sqlite_tasks.fetch_ended(connection, awaited, now) if awaited else []
            return accepted, ended

        accepted, ended = await self._thread.write(store)
        for record in ended:
            self._waiters.ended(record)
        return accepted

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress in one transaction."""
        now = self._clock.time()
        await self._thread.write(
            lambda connection: sqlite_tasks.store_progress(connection, updates, now)
        )

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_tasks.fetch(connection, task_id, now)
        )

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

    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order."""
        now = self._clock.time()

        async def scan(place: Position | None, number: int) -> list[TaskRecord]:
            return await self._thread.read(
                lambda connection: sqlite_listing.find(
                    connection, query, after=place, limit=number, now=now
                )
            )

        return await sift(query, scan, after, limit)

    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        """Count tasks by their state; a state that none is in is left out."""
        if query.has_globs:
            return await super().count_tasks(query)
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_listing.count(connection, query, now)
        )

    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size.
        """
        check_size(group_id, size)
        now = self._clock.time()
        await self._thread.write(
            lambda connection: sqlite_groups.create(connection, group_id, size, now=now, ttl=ttl)
        )

    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.report(connection, group_id, task_id, state, now)
        )

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_groups.claim(connection, group_id, claimant, now)
        )

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""
        now = self._clock.time()
        return await self._thread.read(
            lambda connection: sqlite_groups.fetch(connection, group_id, now)
        )

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        """Take a key that nobody holds; exactly one claimant wins, and wins again if it asks again."""
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.claim(connection, key, owner, ttl=ttl, now=now)
        )

    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        """Hold a key for longer, and put a value there, if the owner still holds it."""
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.keep(
                connection, key, owner, ttl=ttl, value=value, now=now
            )
        )

    async def release_key(self, key: str, owner: str) -> bool:
        """Let a key go, if the owner holds it."""
        now = self._clock.time()
        return await self._thread.write(
            lambda connection: sqlite_keys.release(connection, key, owner, now)
        )

    async def purge_expired(self) -> int:
        """Remove what is past its TTL, and return how many records that were."""
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

    async def ping(self) -> None:
        """Make sure that the file can be read."""

        def read(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM stem_tasks WHERE task_id = ''").fetchone()

        await self._thread.read(read)

    def _purge_now_and_then(self, connection: sqlite3.Connection, now: float) -> None:
        """Remove some of what has expired; called in the thread, and only there."""
        if now - self._purged_at < PURGE_INTERVAL:
            return
        sqlite_groups.purge(connection, now)
        sqlite_keys.purge(connection, now)
        if sqlite_tasks.purge(connection, now, _PURGE_LIMIT) < _PURGE_LIMIT:
            self._purged_at = now
