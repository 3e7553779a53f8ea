"""The result backend in PostgreSQL: ``postgresql://user:password@host/database``.

A batch of changes is one statement, committed as the server's ``synchronous_commit`` has it before
`PostgresBackend.transition` returns. Ends of tasks are told with NOTIFY, in a transaction of its own
after the one that stores them: PostgreSQL commits transactions that notify one after the other, each
with its wait for the disk; this one writes nothing, so it has none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import asyncpg

from stem_amqp.clock import Clock
from stem_amqp.errors import StemError
from stem_amqp.results import postgres_groups, postgres_keys, postgres_listing, postgres_tasks
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
from stem_amqp.results.groups import check_size, unknown_group
from stem_amqp.results.listing import ALL, sift
from stem_amqp.results.postgres_address import PostgresAddress
from stem_amqp.results.postgres_batch import portions
from stem_amqp.results.postgres_errors import is_outage, not_opened
from stem_amqp.results.postgres_index import PostgresIndexes
from stem_amqp.results.postgres_pool import JOB_TIMEOUT, Connection, PostgresPool, close_politely
from stem_amqp.results.postgres_schema import migrate
from stem_amqp.results.postgres_watch import PostgresWatch, channel_of, tell
from stem_amqp.results.records import PURGE_INTERVAL
from stem_amqp.results.waiters import Waiters
from stem_amqp.states import TaskState

log = logging.getLogger("stem_amqp.results")

P = ParamSpec("P")
T = TypeVar("T")
_Purge = Callable[[Connection, str, float, int], Awaitable[int]]

_PURGE_LIMIT = 500
"""Records removed in one transaction, so that nobody waits for long."""


class PostgresBackend(ResultBackend):
    """Results in a PostgreSQL database.

    Args:
        address: the database.
        namespace: whose results: those of another are neither seen nor touched.
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

    async def close(self) -> None:
        """Close the connections, and cancel who waits."""
        self._waiters.close()
        purging, self._purging = self._purging, None
        if purging is not None:
            purging.cancel()
            await asyncio.wait({purging})
        await self._watch.close()
        await self._pool.close()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes durably, in the given order: usually all of them in one statement."""
        now = self._clock.time()
        accepted: list[bool] = []
        for portion in portions(changes):
            accepted += await self._store(portion, now)
        self._purge_now_and_then(now)
        return accepted

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress in one statement."""
        now = self._clock.time()
        if updates:
            await self._run(postgres_tasks.store_progress, updates, now)

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""
        now = self._clock.time()
        return await self._run(postgres_tasks.fetch, task_id, now)

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, wherever.

        Raises:
            ResultTimeoutError: it did not end in time.
        """
        watched = False

        async def look_up() -> TaskRecord | None:
            nonlocal watched
            record = await self.get(task_id)
            if watched or (record is not None and record.state.final):
                return record
            # Only who really has to wait needs to listen; and looks again, once it does.
            watched = True
            await self._watch.begin(task_id)
            return await self.get(task_id)

        try:
            return await self._waiters.wait(task_id, timeout, look_up)
        finally:
            if watched and task_id not in self._waiters:
                self._watch.end(task_id)

    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order."""
        now = self._clock.time()

        async def scan(place: Position | None, number: int) -> list[TaskRecord]:
            return await self._run(postgres_listing.find, query, after=place, limit=number, now=now)

        return await sift(query, scan, after, limit)

    async def count_tasks(self, query: TaskQuery = ALL) -> dict[TaskState, int]:
        """Count tasks by their state; a state that none is in is left out."""
        if query.has_globs or query.meta:
            return await super().count_tasks(query)
        now = self._clock.time()
        return await self._run(postgres_listing.count, query, now)

    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size.
        """
        check_size(group_id, size)
        now = self._clock.time()
        await self._run(postgres_groups.create, group_id, size, now=now, ttl=ttl)

    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """
        now = self._clock.time()
        await self._run(postgres_groups.report, group_id, task_id, state, now=now)
        group = await self.get_group(group_id)
        if group is None:
            raise unknown_group(group_id)
        return group

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
        now = self._clock.time()
        return await self._run(postgres_groups.claim, group_id, claimant, now)

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""
        now = self._clock.time()
        return await self._run(postgres_groups.fetch, group_id, now)

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        """Take a key that nobody holds; exactly one claimant wins, and wins again if it asks again."""
        now = self._clock.time()
        return await self._run(postgres_keys.claim, key, owner, ttl=ttl, now=now)

    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        """Hold a key for longer, and put a value there, if the owner still holds it."""
        now = self._clock.time()
        return await self._run(postgres_keys.keep, key, owner, ttl=ttl, value=value, now=now)

    async def release_key(self, key: str, owner: str) -> bool:
        """Let a key go, if the owner holds it."""
        now = self._clock.time()
        return await self._run(postgres_keys.release, key, owner, now)

    async def purge_expired(self) -> int:
        """Remove what is past its TTL, and return how many records that were."""
        now = self._clock.time()
        kinds = (postgres_groups.purge, postgres_keys.purge, postgres_tasks.purge)
        return sum([await self._purge(kind, now) for kind in kinds])

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
                await close_politely(connection)
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
            repeat=False,  # who asks again must know that the first try may have been stored
        )
        # Also what was refused: it may be the repetition of one that died before it told.
        ended = [change.task_id for change in changes if change.state.final]
        if ended:
            await self._tell(ended)
        return accepted

    async def _tell(self, task_ids: Sequence[str]) -> None:
        async def told(connection: Connection) -> None:
            try:
                await tell(connection, self._channel, task_ids)
            except asyncpg.PostgresError as error:
                if is_outage(error):
                    raise
                # Everything is stored; those who wait look by themselves now and then.
                log.warning("the ends of %d tasks cannot be told: %s", len(task_ids), error)

        await self._pool.run(told)

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

    def _purge_now_and_then(self, now: float) -> None:
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
            log.warning("the result store cannot be kept in order: %s", error)
        finally:
            self._purging = None
