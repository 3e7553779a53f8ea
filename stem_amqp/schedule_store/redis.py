"""Schedules in Redis: a hash for each, changed by scripts, which Redis runs atomically.

Keys, for the namespace ``stem``:

- ``stem:schedule:<name>``: a hash with the fields of the record.
- ``stem:schedules:all``, ``stem:schedules:dynamic``: sorted sets of the names, all with the score 0.
- ``stem:schedules:due``: a sorted set of the names by the time of their next tick.

They have no TTL, and add to the keys of the result backend; earlier releases do not use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from typing_extensions import override

from stem_amqp.results.redis.client import RedisClient, Script
from stem_amqp.schedule_store.base import PAGE, ScheduleRecord, ScheduleStore, new_revision

T = TypeVar("T")

_BATCH = 500
"""Records of one script: Redis serves nobody else meanwhile, for a few milliseconds."""

_SAVE = Script(r"""
local done = {}
for i = 1, #KEYS - 3 do
  local key, at = KEYS[3 + i], (i - 1) * 6
  local name, expected, due = ARGV[at + 1], ARGV[at + 2], ARGV[at + 6]
  local held = redis.call('HGET', key, 'revision') or ''
  done[i] = 0
  if held == expected then
    done[i] = 1
    redis.call('HSET', key, 'revision', ARGV[at + 3], 'state', ARGV[at + 5], 'due', due)
    redis.call('ZADD', KEYS[1], 0, name)
    if ARGV[at + 4] == '' then
      redis.call('HDEL', key, 'definition')
      redis.call('ZREM', KEYS[2], name)
    else
      redis.call('HSET', key, 'definition', ARGV[at + 4])
      redis.call('ZADD', KEYS[2], 0, name)
    end
    if due == '' then redis.call('ZREM', KEYS[3], name) else redis.call('ZADD', KEYS[3], due, name) end
  end
end
return done
""")
"""Stores records whose revision is the expected one: name, expected and new revision, definition, state, due."""

_REMOVE = Script(r"""
local done = {}
for i = 1, #KEYS - 3 do
  local name, expected = ARGV[2 * i - 1], ARGV[2 * i]
  done[i] = 0
  if redis.call('HGET', KEYS[3 + i], 'revision') == expected then
    done[i] = 1
    redis.call('DEL', KEYS[3 + i])
    for index = 1, 3 do redis.call('ZREM', KEYS[index], name) end
  end
end
return done
""")

_GET = Script(r"""
local found = {}
for i, key in ipairs(KEYS) do
  found[i] = redis.call('HMGET', key, 'definition', 'state', 'due', 'revision')
end
return found
""")

_OF_CODE = Script(r"""
local names, found = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2]), {}
for _, name in ipairs(names) do
  if not redis.call('ZSCORE', KEYS[2], name) then found[#found + 1] = name end
end
return {names[#names] or '', found}
""")
"""The last one of some names, and those of them that are not dynamic: 100,000 dynamic ones are not read for a few."""


class RedisSchedules(ScheduleStore):
    """Schedules in Redis.

    Args:
        client: the connections of the result backend.
        namespace: the prefix of every key.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self._client = client
        self._prefix = f"{namespace}:schedule:"
        self._all, self._dynamic, self._due = (
            f"{namespace}:schedules:{index}" for index in ("all", "dynamic", "due")
        )

    @override
    async def open(self) -> None:
        await self._client.call("PING")

    @override
    async def get(self, names: Sequence[str]) -> list[ScheduleRecord | None]:
        found: list[ScheduleRecord | None] = []
        for some in _batches(names):
            rows = await self._client.run(_GET, [self._prefix + name for name in some], ())
            found += [_record(name, *row) for name, row in zip(some, rows, strict=True)]
        return found

    @override
    async def save(self, records: Sequence[ScheduleRecord]) -> list[ScheduleRecord | None]:
        saved: list[ScheduleRecord | None] = []
        for some in _batches(records):
            new = [replace(record, revision=new_revision()) for record in some]
            values: list[str | bytes] = []
            for before, after in zip(some, new, strict=True):
                due = "" if after.due is None else repr(after.due)
                values += (after.name, before.revision, after.revision)
                values += (after.definition or b"", after.state, due)
            done = await self._client.run(_SAVE, self._keys(some), values)
            saved += [one if ok else None for one, ok in zip(new, done, strict=True)]
        return saved

    @override
    async def remove(self, records: Sequence[ScheduleRecord]) -> list[bool]:
        removed: list[bool] = []
        for some in _batches(records):
            values = [value for record in some for value in (record.name, record.revision)]
            done = await self._client.run(_REMOVE, self._keys(some), values)
            removed += [bool(ok) for ok in done]
        return removed

    @override
    async def page(
        self, *, after: str = "", limit: int = PAGE, dynamic: bool | None = None
    ) -> list[ScheduleRecord]:
        key = self._dynamic if dynamic else self._all
        found: list[ScheduleRecord] = []
        while len(found) < limit:
            first = f"({after}" if after else "-"
            if dynamic is False:
                last, names = await self._client.run(_OF_CODE, [key, self._dynamic], [first, PAGE])
            else:
                names = await self._client.call(
                    "ZRANGEBYLEX", key, first, "+", "LIMIT", 0, limit - len(found)
                )
                last = names[-1] if names else b""
            if not last:
                break
            after, names = last.decode(), names[: limit - len(found)]
            found += [
                one
                for one in await self._records(names)
                if dynamic is None or dynamic == (one.definition is not None)
            ]
        return found

    @override
    async def due(self, before: float, *, limit: int = PAGE) -> list[ScheduleRecord]:
        names = await self._client.call(
            "ZRANGEBYSCORE", self._due, "-inf", f"({before!r}", "LIMIT", 0, limit
        )
        return await self._records(names)

    async def _records(self, names: Sequence[bytes]) -> list[ScheduleRecord]:
        found = await self.get([name.decode() for name in names])
        return [record for record in found if record is not None]

    def _keys(self, records: Sequence[ScheduleRecord]) -> list[str]:
        own = [self._prefix + record.name for record in records]
        return [self._all, self._dynamic, self._due, *own]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _BATCH):
        yield items[first : first + _BATCH]


def _record(
    name: str,
    definition: bytes | None,
    state: bytes | None,
    due: bytes | None,
    revision: bytes | None,
) -> ScheduleRecord | None:
    if revision is None or state is None:
        return None
    return ScheduleRecord(
        name=name,
        definition=definition,
        state=state,
        due=float(due) if due else None,
        revision=revision.decode(),
    )
