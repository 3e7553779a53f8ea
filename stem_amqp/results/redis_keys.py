"""Keys of unique tasks and guarded blocks in Redis: one hash each.

``<namespace>:key:<key>`` has the fields ``owner``, ``expires_at`` and, once there is one, ``value``.
Every method is one script, which Redis runs as one step.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_amqp.results.base import KeyRecord
from stem_amqp.results.redis_client import RedisClient, Script
from stem_amqp.results.redis_tasks import lifetime

_HOLDER = r"""
local function holder(key, now)
  local found = redis.call('HMGET', key, 'owner', 'expires_at')
  return found[2] and tonumber(found[2]) > tonumber(now) and found[1]
end
"""

_CLAIM = Script(
    _HOLDER
    + r"""
local owner = holder(KEYS[1], ARGV[1])
if not owner then redis.call('DEL', KEYS[1]) end
if not owner or (owner == ARGV[2] and redis.call('HEXISTS', KEYS[1], 'value') == 0) then
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'expires_at', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return redis.call('HMGET', KEYS[1], 'owner', 'value', 'expires_at')
"""
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

_PURGE = Script(
    _HOLDER
    + r"""
local removed = 0
for _, key in ipairs(KEYS) do
  if not holder(key, ARGV[1]) then removed = removed + redis.call('DEL', key) end
end
return removed
"""
)


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
        """Take a key that nobody holds, and return how it stands."""
        holder, value, expires_at = await self._client.run(
            _CLAIM, [self.prefix + key], [now, owner, *lifetime(ttl, now)]
        )
        return KeyRecord(owner=holder.decode(), value=value, remaining=float(expires_at) - now)

    async def keep(
        self, key: str, owner: str, *, ttl: float, value: bytes | None, now: float
    ) -> bool:
        """Hold a key for longer, and return whether the owner still held it."""
        arguments = [now, owner, *lifetime(ttl, now), *([] if value is None else [value])]
        kept: int = await self._client.run(_KEEP, [self.prefix + key], arguments)
        return kept == 1

    async def release(self, key: str, owner: str, now: float) -> bool:
        """Let a key go, and return whether the owner held it."""
        released: int = await self._client.run(_RELEASE, [self.prefix + key], [now, owner])
        return released == 1

    async def purge(self, keys: Sequence[str], now: float) -> int:
        """Remove those of some keys that have expired, and return how many that were."""
        removed: int = await self._client.run(_PURGE, keys, [now])
        return removed
