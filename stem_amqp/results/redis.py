"""The result backend in Redis: ``redis://host:6379/0``, for any number of machines.

A batch of changes is one round trip, and one script that Redis runs as one step. Keys, with the
namespace ``stem``:

- ``stem:task:<id>``: a task's record, see `stem_amqp.results.redis_tasks`.
- ``stem:group:<id>``: a group, see `stem_amqp.results.redis_groups`.
- ``stem:key:<key>``: a key of a unique task or a guarded block, see `stem_amqp.results.redis_keys`.
- ``stem:tasks``, ``stem:tasks:<slot>``: ids of records by their time, see
  `stem_amqp.results.redis_listing`.
- ``stem:schema``: the version of all this, see `stem_amqp.results.redis_schema`.

On the channel ``stem:ended:<id>`` Redis publishes the final state of a task. Records, groups
and keys have their TTL in Redis too, which forgets them by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from stem_amqp.clock import Clock
from stem_amqp.errors import StemError
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
from stem_amqp.results.redis_address import RedisAddress
from stem_amqp.results.redis_client import RedisClient
from stem_amqp.results.redis_groups import RedisGroups
from stem_amqp.results.redis_keys import RedisKeys
from stem_amqp.results.redis_listing import SWEEP_INTERVAL, RedisListing
from stem_amqp.results.redis_schema import migrate
from stem_amqp.results.redis_tasks import RedisTasks
from stem_amqp.results.redis_watch import RedisWatch
from stem_amqp.results.waiters import Waiters
from stem_amqp.states import TaskState

log = logging.getLogger("stem_amqp.results")

_SCAN_COUNT = 1000
"""Keys that Redis looks at in one step of a purge."""


class RedisBackend(ResultBackend):
    """Results in Redis.

    Args:
        address: the server and the number of its database.
        namespace: the prefix of every key; two namespaces never see each other.
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

    async def open(self) -> None:
        """Connect, and check the version of what is there.

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

    async def close(self) -> None:
        """Close the connections, and cancel who waits."""
        self._waiters.close()
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait({sweeping})
        await self._watch.close()
        await self._client.close()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes, in the given order; up to 1,000 are one step and one round trip.

        A batch whose connection dies is sent once more. If it had been stored all the same, its
        changes count as repeated, and most of them are not accepted a second time.

        Raises:
            BackendUnavailableError: none of them is known to be stored; repeating is safe.
        """
        accepted = await self._tasks.store(changes, self._clock.time())
        self._sweep_now_and_then()
        return accepted

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress."""
        await self._tasks.store_progress(updates, self._clock.time())

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task, or None if nothing is (any more)."""
        (record,) = await self._fetch([task_id])
        return record

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended, here or in another process.

        A lost connection is replaced meanwhile; after 30 s without one, waiting fails.

        Raises:
            ResultTimeoutError: it did not end in time.
            BackendUnavailableError: Redis does not answer.
        """

        async def look_up() -> TaskRecord | None:
            # Listening begins before the look: an end in between is seen by one of the two.
            await self._watch.begin(task_id)
            return await self.get(task_id)

        try:
            return await self._waiters.wait(task_id, timeout, look_up)
        finally:
            if task_id not in self._waiters:
                self._watch.forget(task_id)

    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order."""
        return await self._listing.find(query, after, limit, self._clock.time())

    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size.
        """
        check_size(group_id, size)
        await self._groups.create(group_id, size, now=self._clock.time(), ttl=ttl)

    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """
        return await self._groups.report(group_id, task_id, state, self._clock.time())

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
        return await self._groups.claim(group_id, claimant, self._clock.time())

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""
        return await self._groups.fetch(group_id, self._clock.time())

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        """Take a key that nobody holds; exactly one claimant wins, and wins again if it asks again."""
        return await self._keys.claim(key, owner, ttl=ttl, now=self._clock.time())

    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        """Hold a key for longer, and put a value there, if the owner still holds it."""
        now = self._clock.time()
        return await self._keys.keep(key, owner, ttl=ttl, value=value, now=now)

    async def release_key(self, key: str, owner: str) -> bool:
        """Let a key go, if the owner holds it."""
        return await self._keys.release(key, owner, self._clock.time())

    async def purge_expired(self) -> int:
        """Remove what is past its TTL by our clock, and return how many records that were.

        Redis forgets by itself, so where its clock and ours agree there is nothing to remove. It
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

    async def ping(self) -> None:
        """Make sure that Redis answers.

        Raises:
            BackendUnavailableError: it does not.
        """
        await self._client.call("PING")

    async def _fetch(self, task_ids: Sequence[str]) -> list[TaskRecord | None]:
        return await self._tasks.fetch(task_ids, self._clock.time())

    def _sweep_now_and_then(self) -> None:
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
