"""The result backend in Redis: ``redis://host:6379/0``, for any number of machines.

A batch of changes is one round trip with one script, which Redis runs atomically. Keys, for the
namespace ``stem``:

- ``stem:task:<id>``: a task's record, see `stem_amqp.results.redis.tasks`.
- ``stem:group:<id>``, ``stem:members:<id>``, ``stem:failures:<id>``: a group, see `stem_amqp.results.redis.groups`.
- ``stem:key:<key>``: a key of a unique task or a guarded block, see `stem_amqp.results.redis.keys`.
- ``stem:tasks``, ``stem:tasks:<slot>``: ids of records by time of creation, see
  `stem_amqp.results.redis.listing`.
- ``stem:limit:…``, ``stem:limits``: limits across workers, see `stem_amqp.limits.redis.store`.
- ``stem:schema``: the version of these keys, see `stem_amqp.results.redis.schema`.

On the channel ``stem:ended:<id>`` Redis publishes the final state of a task. Records, groups
and keys have a TTL in Redis too, which removes them automatically.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from redis.exceptions import RedisError
from typing_extensions import override

from stem_amqp.cancellation import end
from stem_amqp.clock import Clock
from stem_amqp.errors import StemError
from stem_amqp.limits.base import LimitStore
from stem_amqp.limits.redis.store import RedisLimits
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
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.redis.client import RedisClient
from stem_amqp.results.redis.groups import RedisGroups
from stem_amqp.results.redis.keys import RedisKeys
from stem_amqp.results.redis.listing import SWEEP_INTERVAL, RedisListing
from stem_amqp.results.redis.schema import migrate
from stem_amqp.results.redis.tasks import RedisTasks
from stem_amqp.results.redis.watch import RedisWatch
from stem_amqp.results.waiters import Waiters
from stem_amqp.schedule_store.base import ScheduleStore
from stem_amqp.schedule_store.redis import RedisSchedules

log = logging.getLogger("stem_amqp.results")

_SCAN_COUNT = 1000
"""Keys that Redis inspects in one step of a purge."""


class RedisBackend(ResultBackend):
    """Results in Redis.

    Args:
        address: the server and the number of its database.
        namespace: the prefix of every key; namespaces are isolated from each other.
        clock: the time that TTLs are measured with.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, address: RedisAddress, namespace: str, clock: Clock) -> None:
        self._clock = clock
        self._namespace = namespace
        self._client = RedisClient(address, f"stem-amqp:{namespace}")
        self._tasks = RedisTasks(self._client, namespace)
        self._listing = RedisListing(self._client, self._tasks, namespace)
        self._swept_at = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._groups = RedisGroups(self._client, namespace)
        self._keys = RedisKeys(self._client, namespace)
        self._waiters, self._watch = self._waiting()

    @override
    async def open(self) -> None:
        """Connect, and check the version of the stored data.

        Raises:
            ConfigurationError: the URL cannot be used, or the namespace is newer than this.
            BackendUnavailableError: Redis does not answer.
        """
        if self._client.is_open:
            return
        await self._client.open()
        try:
            await migrate(self._client, self._namespace)
        except BaseException:
            await self._client.close()
            raise
        self._waiters, self._watch = self._waiting()
        self._swept_at = time.monotonic()

    @override
    async def close(self) -> None:
        self._waiters.close()
        sweeping, self._sweeping = self._sweeping, None
        await end(sweeping)
        await self._watch.close()
        await self._client.close()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes, in the given order; up to 1,000 are one step and one round trip.

        A batch whose connection dies is sent once more. If it had been stored all the same, its
        changes count as repeated, and most of them are not accepted a second time.

        Raises:
            BackendUnavailableError: none of them is known to be stored; repeating is safe.
        """
        accepted = await self._tasks.store(changes, self._clock.time())
        self._sweep_in_background()
        return accepted

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        await self._tasks.store_progress(updates, self._clock.time())

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        (record,) = await self._fetch([task_id])
        return record

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, here or in another process.

        A lost connection is replaced meanwhile; after 30 s without one, waiting fails.

        Raises:
            ResultTimeoutError: it did not end in time.
            BackendUnavailableError: Redis does not answer.
        """

        async def look_up() -> TaskRecord | None:
            # Listening begins before the look-up, so that an end in between is not missed.
            await self._watch.begin(task_id)
            return await self.get(task_id)

        try:
            return await self._waiters.wait(task_id, timeout, look_up)
        finally:
            if task_id not in self._waiters:
                self._watch.forget(task_id)

    @override
    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        return await self._listing.find(query, after, limit, self._clock.time())

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        now = self._clock.time()
        await self._groups.create(group_id, size, ttl=ttl, plan=plan, sealed=sealed, now=now)

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        return await self._groups.expand(group_id, count, addition, self._clock.time())

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        return await self._groups.seal(group_id, self._clock.time())

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        return await self._groups.report(reports, self._clock.time())

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        return await self._groups.claim(group_id, claimant, self._clock.time())

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        return await self._groups.fetch(group_id, self._clock.time())

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        now = self._clock.time()
        return await self._groups.members(
            group_id, after=after, limit=limit, failed=failed, now=now
        )

    @override
    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        return await self._keys.claim(key, owner, ttl=ttl, now=self._clock.time())

    @override
    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        now = self._clock.time()
        return await self._keys.keep(key, owner, ttl=ttl, value=value, now=now)

    @override
    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        now = self._clock.time()
        return await self._keys.swap(key, owner, ttl=ttl, expected=expected, value=value, now=now)

    @override
    async def release_key(self, key: str, owner: str) -> bool:
        return await self._keys.release(key, owner, self._clock.time())

    @override
    def limits(self, clock: Clock | None = None) -> LimitStore:
        return RedisLimits(self._client, self._namespace, clock)

    @override
    def schedules(self) -> ScheduleStore:
        return RedisSchedules(self._client, self._namespace)

    @override
    async def purge_expired(self) -> int:
        """Remove what is past its TTL by our clock, and return how many records that were.

        Redis removes expired keys, so there is nothing to remove unless the clocks differ. It
        looks at every key of the database.
        """
        now, removed, cursor = self._clock.time(), 0, 0
        while True:
            cursor, keys = await self._client.call(
                "SCAN", cursor, "MATCH", f"{self._namespace}:*", "COUNT", _SCAN_COUNT
            )
            names = [key.decode() for key in keys]
            for kind in (self._tasks, self._groups, self._keys):
                own = [name for name in names if name.startswith(kind.prefix)]
                removed += await kind.purge(own, now) if own else 0
            if int(cursor) == 0:
                break
        await self._listing.sweep()
        return removed

    @override
    async def ping(self) -> None:
        await self._client.call("PING")

    async def _fetch(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        return await self._tasks.fetch(task_ids, self._clock.time())

    def _sweep_in_background(self) -> None:
        now = time.monotonic()
        if now - self._swept_at < SWEEP_INTERVAL or self._sweeping is not None:
            return
        self._swept_at = now
        self._sweeping = asyncio.create_task(self._sweep_quietly(), name="stem-amqp redis sweep")

    async def _sweep_quietly(self) -> None:
        try:
            await self._listing.sweep_if_due()
        except (StemError, RedisError) as error:
            log.warning("the list of tasks in Redis cannot be swept: %s", error)
        finally:
            self._sweeping = None

    def _waiting(self) -> tuple[Waiters, RedisWatch]:
        waiters = Waiters()
        return waiters, RedisWatch(self._client, self._tasks.channel, waiters, self._fetch)
