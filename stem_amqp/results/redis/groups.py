"""Groups in Redis: a hash for the counts and one for the members, changed by atomic scripts.

- ``<namespace>:group:<id>``: a hash with the fields ``size``, ``sealed``, ``done``, ``failed``, ``plan``,
  ``expires_at``, ``claimed_by``, ``first_failed``, ``first_error``, and ``+<name>`` with the first index
  of each addition.
- ``<namespace>:members:<id>``: a hash with a field for the index of each member that has ended.
- ``<namespace>:failures:<id>``: a sorted set of the indexes of failed members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stem_amqp.results.groups.checks import (
    check_count,
    check_page,
    check_same_size,
    check_size,
    sealed_group,
    unknown_group,
)
from stem_amqp.results.groups.counts import Change, after_each, portions
from stem_amqp.results.groups.encoding import UNREADABLE, decode, encode
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.results.records import writable
from stem_amqp.results.redis.client import RedisClient, Script
from stem_amqp.results.redis.tasks import lifetime
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState

SCRIPT_LIMIT = 1000
"""Members in one run of a script: Redis serves no other client meanwhile, for a few milliseconds."""
SCRIPT_BYTES = 4_000_000
"""Bytes of values in one run of a script."""

_FIELDS = (
    "'size', 'sealed', 'done', 'failed', 'claimed_by', 'first_failed', 'first_error', 'expires_at'"
)

_LIVE = r"""
local function live(key, now)
  local found = redis.pcall('HMGET', key, 'size', 'expires_at')
  if found.err then return false end
  return found[2] and (tonumber(found[2]) or 0) > tonumber(now) and tonumber(found[1])
end
"""

_CREATE = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if size then return size end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'size', ARGV[2], 'expires_at', ARGV[3], 'sealed', ARGV[5],
  'plan', ARGV[6], 'done', 0, 'failed', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return tonumber(ARGV[2])
"""
)

_EXPAND = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if not size then return -1 end
local earlier = redis.call('HGET', KEYS[1], '+' .. ARGV[3])
if earlier then return tonumber(earlier) end
if redis.call('HGET', KEYS[1], 'sealed') == '1' then return -2 end
redis.call('HSET', KEYS[1], '+' .. ARGV[3], size, 'size', size + ARGV[2])
return size
"""
)

_SEAL = Script(
    _LIVE
    + r"""
if not live(KEYS[1], ARGV[1]) then return false end
redis.call('HSET', KEYS[1], 'sealed', 1)
"""
    + f"return redis.call('HMGET', KEYS[1], {_FIELDS})\n"
)

# Each report is five arguments, since each costs time in Python. The members' keys have the lifetime
# of the group's key.
_REPORT = Script(
    _LIVE
    + r"""
local sizes, added, failures, first, codes, groups = {}, {}, {}, {}, {}, {}
local count = #KEYS / 3
for g = 1, count do
  sizes[g], added[g], failures[g] = live(KEYS[3 * g - 2], ARGV[1]) or 0, 0, 0
end
for r = 2, #ARGV, 5 do
  local g, index, failed = tonumber(ARGV[r]), ARGV[r + 1], ARGV[r + 2] == '1'
  local place, code = tonumber(index), 0
  if place >= 0 and place < sizes[g] then
    local members, failing = KEYS[3 * g - 1], KEYS[3 * g]
    if redis.call('HSETNX', members, index, ARGV[r + 3]) == 1 then
      code, added[g] = 1, added[g] + 1
      if failed then
        failures[g] = failures[g] + 1
        redis.call('ZADD', failing, index, index)
        if not first[g] or place < tonumber(first[g][1]) then first[g] = {index, ARGV[r + 4]} end
      end
    elseif not failed and redis.call('ZREM', failing, index) == 1 then
      redis.call('HSET', members, index, ARGV[r + 3])
      code, failures[g] = 2, failures[g] - 1
    end
  end
  codes[#codes + 1] = code
end
for g = 1, count do
  local key = KEYS[3 * g - 2]
  if added[g] > 0 then
    redis.call('HINCRBY', key, 'done', added[g])
    local left = redis.call('PTTL', key)
    if left > 0 then
      redis.call('PEXPIRE', KEYS[3 * g - 1], left)
      redis.call('PEXPIRE', KEYS[3 * g], left)
    end
  end
  if failures[g] ~= 0 then redis.call('HINCRBY', key, 'failed', failures[g]) end
  if first[g] and redis.call('HSETNX', key, 'first_failed', first[g][1]) == 1 then
    redis.call('HSET', key, 'first_error', first[g][2])
  end
"""
    + f"  groups[g] = sizes[g] > 0 and redis.call('HMGET', key, {_FIELDS})\n"
    + r"""
end
return {codes, groups}
"""
)

_CLAIM = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if not size then return 0 end
local found = redis.call('HMGET', KEYS[1], 'claimed_by', 'sealed', 'done')
local winner = found[1]
if not winner and found[2] == '1' and tonumber(found[3]) >= size then
  winner = ARGV[2]
  redis.call('HSET', KEYS[1], 'claimed_by', winner)
end
return winner == ARGV[2] and 1 or 0
"""
)

_FETCH = Script(
    _LIVE + f"return live(KEYS[1], ARGV[1]) and redis.call('HMGET', KEYS[1], {_FIELDS}, 'plan')\n"
)

# One window of a page: at most so many indexes are looked at, so that Redis is soon free again.
_MEMBERS = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if not size then return false end
local after, limit, kind = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local indexes, last = {}, math.min(after + limit, size - 1)
if kind == 'failed' then
  indexes = redis.call('ZRANGEBYSCORE', KEYS[3], after + 1, '+inf', 'LIMIT', 0, limit)
  if #indexes < limit then last = size - 1 else last = tonumber(indexes[#indexes]) end
else
  for index = after + 1, last do indexes[#indexes + 1] = string.format('%d', index) end
end
if #indexes == 0 then return {last, size, {}, {}} end
return {last, size, indexes, redis.call('HMGET', KEYS[2], unpack(indexes))}
"""
)

_PURGE = Script(
    _LIVE
    + r"""
local removed = 0
for n = 1, #KEYS, 3 do
  if not live(KEYS[n], ARGV[1]) then
    removed = removed + redis.call('DEL', KEYS[n])
    redis.call('DEL', KEYS[n + 1], KEYS[n + 2])
  end
end
return removed
"""
)


class RedisGroups:
    """The groups of one namespace.

    Args:
        client: the connections.
        namespace: the prefix of every key.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self.prefix = f"{namespace}:group:"
        self._members = f"{namespace}:members:"
        self._failures = f"{namespace}:failures:"
        self._client = client

    async def create(
        self, group_id: str, size: int, *, ttl: float, plan: bytes, sealed: bool, now: float
    ) -> None:
        """Create a group, if it does not exist."""
        check_size(group_id, size)
        arguments = [now, size, *lifetime(ttl, now), int(sealed), plan]
        existing = await self._client.run(_CREATE, self._keys(group_id), arguments)
        check_same_size(group_id, size, existing, sealed=sealed)

    async def expand(self, group_id: str, count: int, addition: str, now: float) -> int:
        """Add members, and return the index of the first."""
        check_count(group_id, count)
        keys = [self.prefix + group_id]
        first: int = await self._client.run(_EXPAND, keys, [now, count, addition])
        if first == -1:
            raise unknown_group(group_id)
        if first < 0:
            raise sealed_group(group_id)
        return first

    async def seal(self, group_id: str, now: float) -> GroupRecord:
        """Seal a group, and return it."""
        fields = await self._client.run(_SEAL, [self.prefix + group_id], [now])
        if fields is None:
            raise unknown_group(group_id)
        return _record(group_id, fields)

    async def report(self, reports: Sequence[MemberReport], now: float) -> list[GroupRecord | None]:
        """Store the ends of members: one round trip for up to `SCRIPT_LIMIT`."""
        after: list[GroupRecord | None] = []
        for portion in portions(reports, limit=SCRIPT_LIMIT, size=SCRIPT_BYTES):
            after += await self._report(portion, now)
        return after

    async def claim(self, group_id: str, claimant: str, now: float) -> bool:
        """Claim a complete group, and return whether the claimant has won."""
        won: int = await self._client.run(_CLAIM, [self.prefix + group_id], [now, claimant])
        return won == 1

    async def fetch(self, group_id: str, now: float) -> GroupRecord | None:
        """Return a group, or None if there is none (any more)."""
        fields = await self._client.run(_FETCH, [self.prefix + group_id], [now])
        return None if fields is None else _record(group_id, fields)

    async def members(
        self, group_id: str, *, after: int, limit: int, failed: bool | None, now: float
    ) -> list[MemberRecord]:
        """Return members by index, in as many round trips as there are windows of `SCRIPT_LIMIT`."""
        check_page(after, limit)
        kind = "failed" if failed else "any"
        found: list[MemberRecord] = []
        while len(found) < limit:
            window = min(limit, SCRIPT_LIMIT)
            answer = await self._client.run(
                _MEMBERS, self._keys(group_id), [now, after, window, kind]
            )
            if answer is None:
                raise unknown_group(group_id)
            after, size, indexes, stored = answer
            found += _members(indexes, stored, failed=failed)
            if after >= size - 1:
                break
        return found[:limit]

    async def purge(self, keys: Sequence[str], now: float) -> int:
        """Remove the expired ones of some groups, and return their number."""
        ids = [key.removeprefix(self.prefix) for key in keys]
        all_keys = [key for group_id in ids for key in self._keys(group_id)]
        removed: int = await self._client.run(_PURGE, all_keys, [now])
        return removed

    async def _report(
        self, reports: Sequence[MemberReport], now: float
    ) -> list[GroupRecord | None]:
        numbers: dict[str, int] = {}
        arguments: list[Any] = [now]
        for report in reports:
            number = numbers.setdefault(report.group_id, len(numbers) + 1)
            failed = report.failed
            error = writable(report.error) or "" if failed else ""
            arguments += (number, report.index, int(failed), encode(report), error)
        keys = [key for group_id in numbers for key in self._keys(group_id)]
        codes, found = await self._client.run(_REPORT, keys, arguments)
        groups = {
            group_id: _record(group_id, fields)
            for group_id, fields in zip(numbers, found, strict=True)
            if fields is not None
        }
        changes = {position: Change(code) for position, code in enumerate(codes) if code}
        return after_each(reports, groups, changes)

    def _keys(self, group_id: str) -> list[str]:
        return [self.prefix + group_id, self._members + group_id, self._failures + group_id]


def _members(
    indexes: Sequence[bytes], stored: Sequence[bytes | None], *, failed: bool | None
) -> list[MemberRecord]:
    found = []
    for index, data in zip(indexes, stored, strict=True):
        if data is None:
            continue
        try:
            member = decode(data)
        except UNREADABLE as error:
            SKIPPED.note(index.decode(), error)
            continue
        if failed is None or failed is (member.state is not TaskState.SUCCEEDED):
            found.append(member)
    return found


def _record(group_id: str, fields: Sequence[bytes | None]) -> GroupRecord:
    size, sealed, done, failed, claimed_by, first_failed, first_error, expires_at, *plan = fields
    return GroupRecord(
        group_id=group_id,
        size=int(size or 0),
        sealed=sealed != b"0",
        done=int(done or 0),
        failed=int(failed or 0),
        plan=(plan[0] or b"") if plan else b"",
        claimed_by=_text(claimed_by),
        first_failed=None if first_failed is None else int(first_failed),
        first_error=_text(first_error),
        expires_at=float(expires_at or 0),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")
