"""Groups in Redis: one hash each, which Redis itself guards.

``<namespace>:group:<id>`` has the fields ``size``, ``expires_at``, ``claimed_by`` once it is claimed,
and ``member:<task id>`` with the state of each member that was reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_amqp.results.base import GroupRecord
from stem_amqp.results.groups import check_same_size, unknown_group
from stem_amqp.results.redis_client import RedisClient, Script
from stem_amqp.results.redis_tasks import lifetime
from stem_amqp.states import TaskState

_LIVE = r"""
local function live(key, now)
  local found = redis.call('HMGET', key, 'size', 'expires_at')
  return found[2] and tonumber(found[2]) > tonumber(now) and tonumber(found[1])
end
"""

_CREATE = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if size then return size end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'size', ARGV[2], 'expires_at', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return tonumber(ARGV[2])
"""
)

_REPORT = Script(
    _LIVE
    + r"""
if not live(KEYS[1], ARGV[1]) then return false end
redis.call('HSETNX', KEYS[1], 'member:' .. ARGV[2], ARGV[3])
return redis.call('HGETALL', KEYS[1])
"""
)

_CLAIM = Script(
    _LIVE
    + r"""
local size = live(KEYS[1], ARGV[1])
if not size then return 0 end
local winner = redis.call('HGET', KEYS[1], 'claimed_by')
if not winner and redis.call('HLEN', KEYS[1]) - 2 >= size then
  winner = ARGV[2]
  redis.call('HSET', KEYS[1], 'claimed_by', winner)
end
return winner == ARGV[2] and 1 or 0
"""
)

_FETCH = Script(
    _LIVE
    + r"""
return live(KEYS[1], ARGV[1]) and redis.call('HGETALL', KEYS[1])
"""
)

_PURGE = Script(
    _LIVE
    + r"""
local removed = 0
for _, key in ipairs(KEYS) do
  if not live(key, ARGV[1]) then removed = removed + redis.call('DEL', key) end
end
return removed
"""
)

_MEMBER = b"member:"


class RedisGroups:
    """The groups of one namespace.

    Args:
        client: the connections.
        namespace: the prefix of every key.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self.prefix = f"{namespace}:group:"
        self._client = client

    async def create(self, group_id: str, size: int, *, now: float, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size.
        """
        arguments = [now, size, *lifetime(ttl, now)]
        existing = await self._client.run(_CREATE, [self.prefix + group_id], arguments)
        check_same_size(group_id, size, existing)

    async def report(
        self, group_id: str, task_id: str, state: TaskState, now: float
    ) -> GroupRecord:
        """Note that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
        """
        arguments = [now, task_id, state.value]
        fields = await self._client.run(_REPORT, [self.prefix + group_id], arguments)
        if fields is None:
            raise unknown_group(group_id)
        return _record(group_id, fields)

    async def claim(self, group_id: str, claimant: str, now: float) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again."""
        won: int = await self._client.run(_CLAIM, [self.prefix + group_id], [now, claimant])
        return won == 1

    async def fetch(self, group_id: str, now: float) -> GroupRecord | None:
        """Return a group, or None if there is none (any more)."""
        fields = await self._client.run(_FETCH, [self.prefix + group_id], [now])
        return None if fields is None else _record(group_id, fields)

    async def purge(self, keys: Sequence[str], now: float) -> int:
        """Remove those of some groups that have expired, and return how many that were."""
        removed: int = await self._client.run(_PURGE, keys, [now])
        return removed


def _record(group_id: str, flat: Sequence[bytes]) -> GroupRecord:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    claimed_by = fields.get(b"claimed_by")
    return GroupRecord(
        group_id=group_id,
        size=int(fields[b"size"]),
        members={
            name.removeprefix(_MEMBER).decode(): TaskState(state.decode())
            for name, state in fields.items()
            if name.startswith(_MEMBER)
        },
        claimed_by=None if claimed_by is None else claimed_by.decode(),
    )
