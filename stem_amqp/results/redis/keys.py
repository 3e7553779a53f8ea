"""Keys of unique tasks and guarded blocks in Redis: one hash each.

``<namespace>:key:<key>`` has the fields ``owner``, ``expires_at`` and, once it is stored, ``value``.
Every method is one script, which Redis runs atomically.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_amqp.results.base import KeyRecord
from stem_amqp.results.redis.client import RedisClient, Script
from stem_amqp.results.redis.expiring import purge_script
from stem_amqp.results.redis.tasks import lifetime

_HOLDER = r"""
local function holder(key, now)
  local found = redis.pcall('HMGET', key, 'owner', 'expires_at')
  if found.err then return false end
  return found[2] and (tonumber(found[2]) or 0) > tonumber(now) and found[1]
end
"""

_CLAIMED = r"""
local owner = holder(KEYS[1], ARGV[1])
if not owner then redis.call('DEL', KEYS[1]) end
if not owner or (owner == ARGV[2] and redis.call('HEXISTS', KEYS[1], 'value') == 0) then
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'expires_at', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""
_RECORD = r"""
return redis.call('HMGET', KEYS[1], 'owner', 'value', 'expires_at')
"""

_CLAIM = Script(_HOLDER + _CLAIMED + _RECORD)

_SWAP = Script(
    _HOLDER
    + _CLAIMED
    + r"""
local found = redis.call('HMGET', KEYS[1], 'owner', 'value')
if found[1] == ARGV[2] and found[2] == (ARGV[6] or false) then
  redis.call('HSET', KEYS[1], 'value', ARGV[5], 'expires_at', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""
    + _RECORD
)

_KEEP = Script(
    _HOLDER
    + r"""
if holder(KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'expires_at', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[5] then redis.call('HSET', KEYS[1], 'value', ARGV[5]) end
return 1
"""
)

_RELEASE = Script(
    _HOLDER
    + r"""
if holder(KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
"""
)

_PURGE = purge_script(_HOLDER, "holder")


class RedisKeys:
    """The keys of one namespace.

    Args:
        client: the connections.
        namespace: the prefix of every key.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self.prefix = f"{namespace}:key:"
        self._client = client

    async def claim(self, key: str, owner: str, *, ttl: float, now: float) -> KeyRecord:
        """Claim a key that is free, and return its record."""
        arguments = [now, owner, *lifetime(ttl, now)]
        return _record(await self._client.run(_CLAIM, [self.prefix + key], arguments), now)

    async def keep(
        self, key: str, owner: str, *, ttl: float, value: bytes | None, now: float
    ) -> bool:
        """Extend the time of a key, and return whether the owner still held it."""
        arguments = [now, owner, *lifetime(ttl, now), *([] if value is None else [value])]
        kept: int = await self._client.run(_KEEP, [self.prefix + key], arguments)
        return kept == 1

    async def swap(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes, now: float
    ) -> KeyRecord:
        """Store a value if the key has the expected one, and return the key's record."""
        more = [value] if expected is None else [value, expected]
        arguments = [now, owner, *lifetime(ttl, now), *more]
        return _record(await self._client.run(_SWAP, [self.prefix + key], arguments), now)

    async def release(self, key: str, owner: str, now: float) -> bool:
        """Release a key, and return whether the owner held it."""
        released: int = await self._client.run(_RELEASE, [self.prefix + key], [now, owner])
        return released == 1

    async def purge(self, keys: Sequence[str], now: float) -> int:
        """Remove the expired ones of some keys, and return their number."""
        removed: int = await self._client.run(_PURGE, keys, [now])
        return removed


def _record(fields: Sequence[bytes], now: float) -> KeyRecord:
    holder, value, expires_at = fields
    return KeyRecord(
        owner=holder.decode("utf-8", "replace"), value=value, remaining=float(expires_at) - now
    )
