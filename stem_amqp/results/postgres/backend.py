"""The result backend in PostgreSQL: ``postgresql://user:password@host/database``.

A batch of changes is one statement. `PostgresBackend.transition` returns after its commit, which is
durable as far as the server's ``synchronous_commit`` makes it. Final states are announced with NOTIFY,
in a separate transaction after the one that stores them: PostgreSQL serialises the commits of
transactions that notify, each including its wait for the disk. A transaction that writes nothing has
no such wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import asyncpg
from typing_extensions import override

from stem_amqp.clock import Clock
from stem_amqp.errors import StemError
from stem_amqp.limits.base import LimitStore
from stem_amqp.limits.postgres.store import PostgresLimits
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
from stem_amqp.results.groups.counts import portions as group_portions
from stem_amqp.results.listing import ALL, select_page
from stem_amqp.results.postgres import groups as postgres_groups
from stem_amqp.results.postgres import keys as postgres_keys
from stem_amqp.results.postgres import listing as postgres_listing
from stem_amqp.results.postgres import tasks as postgres_tasks
from stem_amqp.results.postgres.address import PostgresAddress
from stem_amqp.results.postgres.batch import STATEMENT_BYTES, STATEMENT_LIMIT, portions
from stem_amqp.results.postgres.errors import is_outage, not_opened
from stem_amqp.results.postgres.index import PostgresIndexes
from stem_amqp.results.postgres.pool import JOB_TIMEOUT, Connection, PostgresPool, close_gracefully
from stem_amqp.results.postgres.schema import migrate
from stem_amqp.results.postgres.watch import PostgresWatch, channel_of, notify
from stem_amqp.results.records import PURGE_INTERVAL
from stem_amqp.results.unreadable import Unread
from stem_amqp.results.waiters import Waiters
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.schedule_store.postgres import PostgresSchedules
from stem_amqp.states import TaskState

log = logging.getLogger("stem_amqp.results")

P = ParamSpec("P")
T = TypeVar("T")
_Purge = Callable[[Connection, str, float, int], Awaitable[int]]

_PURGE_LIMIT = 500
"""Records removed in one transaction, so that no writer waits long for its locks."""


class PostgresBackend(ResultBackend):
    """Results in a PostgreSQL database.

    Args:
        address: the database.
        namespace: the namespace of the results; those of others are neither seen nor touched.
        clock: the time that TTLs are measured with.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, address: PostgresAddress, namespace: str, clock: Clock) -> None:
        self._address = address
        self._namespace = namespace
        self._channel = channel_of(namespace)
        self._clock = clock
        self._pool = PostgresPool(address)
        self._waiters = Waiters()
        self._watch = self._new_watch()
        self._indexes = PostgresIndexes(self._pool)
        self._purged_at = 0.0
        self._purging: asyncio.Task[None] | None = None

    @override
    async def open(self) -> None:
        """Connect, and create or migrate the tables.

        Raises:
            ConfigurationError: the database cannot be used with this URL or this role.
            BackendUnavailableError: the server cannot be reached.
        """
        if self._pool.is_open:
            return
        await self._prepare()
        self._pool.open()
        self._waiters = Waiters()
        self._watch = self._new_watch()

    @override
    async def close(self) -> None:
        self._waiters.close()
        purging, self._purging = self._purging, None
        if purging is not None:
            purging.cancel()
            await asyncio.wait({purging})
        await self._watch.close()
        await self._pool.close()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes durably, in the given order: usually all of them in one statement."""
        now = self._clock.time()
        accepted: list[bool] = []
        for portion in portions(changes):
            accepted += await self._store(portion, now)
        self._purge_if_due(now)
        return accepted

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress in one statement."""
        now = self._clock.time()
        if updates:
            await self._run(postgres_tasks.store_progress, updates, now)

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        now = self._clock.time()
        return await self._run(postgres_tasks.fetch, task_id, now)

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        watched = False

        async def look_up() -> TaskRecord | None:
            nonlocal watched
            record = await self.get(task_id)
            if watched or (record is not None and record.state.final):
                return record
            # Listening is needed only for a task that has not ended; then the record is read again.
            watched = True
            await self._watch.begin(task_id)
            return await self.get(task_id)

        try:
            return await self._waiters.wait(task_id, timeout, look_up)
        finally:
            if watched and task_id not in self._waiters:
                self._watch.end(task_id)

    @override
    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        now = self._clock.time()

        async def scan(place: Position | None, number: int) -> list[TaskRecord | Unread]:
            return await self._run(postgres_listing.find, query, after=place, limit=number, now=now)

        return await select_page(query, scan, after, limit)

    @override
    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        if query.has_globs or query.meta:
            return await super().count_tasks(query)
        now = self._clock.time()
        return await self._run(postgres_listing.count, query, now)

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        now = self._clock.time()
        await self._run(
            postgres_groups.create, group_id, size, ttl=ttl, plan=plan, sealed=sealed, now=now
        )

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        now = self._clock.time()
        return await self._run(postgres_groups.expand, group_id, count, addition, now=now)

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        now = self._clock.time()
        return await self._run(postgres_groups.seal, group_id, now)

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Store the ends of members: usually all of them in one statement."""
        now = self._clock.time()
        after: list[GroupRecord | None] = []
        for portion in group_portions(reports, limit=STATEMENT_LIMIT, size=STATEMENT_BYTES):
            after += await self._run(postgres_groups.report, portion, now)
        return after

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        now = self._clock.time()
        return await self._run(postgres_groups.claim, group_id, claimant, now)

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        now = self._clock.time()
        return await self._run(postgres_groups.fetch, group_id, now)

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        now = self._clock.time()
        return await self._run(
            postgres_groups.members, group_id, after=after, limit=limit, failed=failed, now=now
        )

    @override
    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        now = self._clock.time()
        return await self._run(postgres_keys.claim, key, owner, ttl=ttl, now=now)

    @override
    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        now = self._clock.time()
        return await self._run(postgres_keys.keep, key, owner, ttl=ttl, value=value, now=now)

    @override
    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        return await self._run(
            postgres_keys.swap,
            key,
            owner,
            ttl=ttl,
            expected=expected,
            value=value,
            now=self._clock.time(),
        )

    @override
    async def release_key(self, key: str, owner: str) -> bool:
        now = self._clock.time()
        return await self._run(postgres_keys.release, key, owner, now)

    @override
    def limits(self, clock: Clock | None = None) -> LimitStore:
        return PostgresLimits(self._pool, self._namespace, clock)

    @override
    def schedules(self) -> ScheduleStore:
        return PostgresSchedules(self._pool, self._namespace)

    @override
    async def purge_expired(self) -> int:
        now = self._clock.time()
        kinds = (postgres_groups.purge, postgres_keys.purge, postgres_tasks.purge)
        return sum([await self._purge(kind, now) for kind in kinds])

    @override
    async def ping(self) -> None:
        """Make sure that the server answers and the tables can be read."""
        await self.get("")

    async def _prepare(self) -> None:
        try:
            connection = await self._pool.connect_raw()
            try:
                async with asyncio.timeout(JOB_TIMEOUT):
                    await migrate(connection, self._address.place)
            finally:
                await close_gracefully(connection)
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError) or is_outage(error):
                raise not_opened(self._address, error) from error
            raise

    def _new_watch(self) -> PostgresWatch:
        return PostgresWatch(self._pool, self._channel, self._waiters, self._fetch_ended)

    async def _fetch_ended(self, task_ids: Sequence[str]) -> list[TaskRecord]:
        now = self._clock.time()
        return await self._run(postgres_tasks.fetch_ended, task_ids, now)

    async def _store(self, changes: Sequence[Transition], now: float) -> list[bool]:
        accepted = await self._pool.run(
            lambda connection: postgres_tasks.store_transitions(
                connection, self._namespace, changes, now
            ),
            repeat=False,  # a caller that repeats must know that the first attempt may have been stored
        )
        # Refused changes too: each may repeat one whose process died before the announcement.
        ended = [change.task_id for change in changes if change.state.final]
        if ended:
            await self._notify(ended)
        return accepted

    async def _notify(self, task_ids: Sequence[str]) -> None:
        async def notify_all(connection: Connection) -> None:
            try:
                await notify(connection, self._channel, task_ids)
            except asyncpg.PostgresError as error:
                if is_outage(error):
                    raise
                # Everything is stored, and waiters also look up their tasks from time to time.
                log.warning("the ends of %d tasks cannot be announced: %s", len(task_ids), error)

        await self._pool.run(notify_all)

    async def _run(
        self,
        job: Callable[Concatenate[Connection, str, P], Awaitable[T]],
        *args: P.args,
        **values: P.kwargs,
    ) -> T:
        return await self._pool.run(
            lambda connection: job(connection, self._namespace, *args, **values)
        )

    async def _purge(self, purge: _Purge, now: float) -> int:
        removed = 0
        while True:
            some = await self._run(purge, now, _PURGE_LIMIT)
            removed += some
            if some < _PURGE_LIMIT:
                return removed

    def _purge_if_due(self, now: float) -> None:
        if now - self._purged_at < PURGE_INTERVAL or self._purging is not None:
            return
        self._purged_at = now
        self._purging = asyncio.create_task(
            self._purge_quietly(), name="stem-amqp postgresql purge"
        )

    async def _purge_quietly(self) -> None:
        try:
            await self.purge_expired()
            await self._indexes.ensure()
        except (StemError, asyncpg.PostgresError) as error:
            log.warning("the maintenance of the result store failed: %s", error)
        finally:
            self._purging = None
