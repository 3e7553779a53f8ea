"""Task records in Redis: one string each, changed by atomic scripts.

``<namespace>:task:<id>`` is a JSON document of four lines: the script parses only the first, and the
bytes of a result stay unchanged. ``redis-cli --raw GET stem:task:<id>``::

    {"state":"succeeded","replay":0,"attempt":0,"expires_at":1767312000.0,"created_at":1767225599.7,
    "progress":null,
    "updated_at":1767225600.0,"task":"orders.sync","queue":"orders","worker":"w1","result":
    {"total": 3}}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from stem_amqp.results.base import Progress, ProgressUpdate, TaskRecord, Transition
from stem_amqp.results.records import encode_progress, progress_fields, writable
from stem_amqp.results.redis.client import RedisClient, Script
from stem_amqp.results.unreadable import readable
from stem_amqp.states import TaskState

SCRIPT_LIMIT = 1000
"""Changes in one run of a script: Redis serves no other client meanwhile, for a few milliseconds."""
LONGEST_TTL = 100 * 365 * 86400.0
"""Seconds; Redis rejects times beyond the range of its clock."""

# Each argument is the record to store if the task is unknown; for a known task its time of creation
# and its progress are inserted. One argument for each change, since each costs time in Python.
# The guard is `states.may_follow`. The contract tests compare both for every pair of states.
_TRANSITION = Script(r"""
local now, channel, id_at, index = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]
local pattern = '^{"state":"(%a+)","replay":(%d+),"attempt":(%d+),"expires_at":([^,]+),'
  .. '"created_at":()([^,]+)(),\n"progress":()(.)'
local final = {succeeded = true, failed = true, expired = true, revoked = true}
local accepted, listed = {}, {}
for i, key in ipairs(KEYS) do
  local record, goes, new = ARGV[i + 4], true, true
  local state, replay, attempt, expires, created_at, created, created_end, progress_at =
    string.match(record, pattern)
  -- a value that another program has written is not a record and is overwritten
  local head = redis.pcall('GETRANGE', key, 0, 255)
  if type(head) == 'string' and head ~= '' then
    local old, old_replay, old_attempt, old_expires, _, old_created, _, _, mark =
      string.match(head, pattern)
    if old and tonumber(old_created) and (tonumber(old_expires) or 0) > now then
      new = false
      local later = tonumber(replay) - tonumber(old_replay)
      goes = old ~= 'succeeded' and (later > 0 or later == 0 and not final[old]
        and state ~= 'queued' and tonumber(attempt) >= tonumber(old_attempt))
      if goes then
        local progress = 'null'
        if mark ~= 'n' and state ~= 'queued' and state ~= 'running' then
          progress = string.match(redis.call('GET', key), '^[^\n]*\n"progress":([^\n]*),\n')
            or 'null'
        end
        record = string.sub(record, 1, created_at - 1) .. old_created
          .. string.sub(record, created_end, progress_at - 1) .. progress
          .. string.sub(record, progress_at + 4)
      end
    end
  end
  if goes then
    local ttl = math.max(1, (tonumber(expires) - now) * 1000)
    redis.call('SET', key, record, 'PX', string.format('%.0f', ttl))
    if final[state] then redis.call('PUBLISH', channel .. string.sub(key, id_at), state) end
    if new then
      local slot = string.format('%.0f', math.floor(created / 10))
      if not listed[slot] then listed[slot] = {} end
      table.insert(listed[slot], string.sub(key, id_at))
    end
  end
  accepted[i] = goes and '1' or '0'
end
for slot, ids in pairs(listed) do
  if redis.call('RPUSH', index .. ':' .. slot, unpack(ids)) == #ids then
    redis.call('ZADD', index, slot, slot)
  end
end
return table.concat(accepted)
""")

_PROGRESS = Script(r"""
local now, last = tonumber(ARGV[1]), 1
local final = {succeeded = true, failed = true, expired = true, revoked = true}
for _, key in ipairs(KEYS) do
  local expires, ttl, progress = ARGV[last + 1], ARGV[last + 2], ARGV[last + 3]
  last = last + 3
  local value = redis.pcall('GET', key)
  if type(value) == 'string' then
    local head, state, places, old_expires, created, rest = string.match(value,
      '^({"state":"(%a+)"(,"replay":%d+,"attempt":%d+,"expires_at":)([^,]+)(,"created_at":[^,]+,\n"progress":))[^\n]*(,\n.*)$')
    if head and not final[state] and (tonumber(old_expires) or 0) > now then
      redis.call('SET', key, '{"state":"' .. state .. '"' .. places .. expires .. created
        .. progress .. rest, 'PX', ttl)
    end
  end
end
""")

_PURGE = Script(r"""
local now, removed = tonumber(ARGV[1]), 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, 255)
  local expires = type(head) == 'string'
    and string.match(head, '^{"state":"%a+","replay":%d+,"attempt":%d+,"expires_at":([^,]+),')
  if expires and (tonumber(expires) or now) <= now then removed = removed + redis.call('DEL', key) end
end
return removed
""")

_ACCEPTED = ord("1")


class RedisTasks:
    """The task records of one namespace.

    Args:
        client: the connections.
        namespace: the prefix of every key.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        self.prefix = f"{namespace}:task:"
        self.channel = f"{namespace}:ended:"
        """The prefix of the channels for ends of tasks; the id follows."""
        self.index = f"{namespace}:tasks"
        """The prefix of the keys for lists, see `stem_amqp.results.redis.listing`."""
        self._id_at = len(self.prefix.encode()) + 1
        self._client = client

    async def store(self, changes: Sequence[Transition], now: float) -> list[bool]:
        """Store changes in the given order, and return for each whether it was accepted.

        Args:
            changes: up to 1,000 of them take one round trip.
            now: seconds since the epoch.
        """
        accepted: list[bool] = []
        for start in range(0, len(changes), SCRIPT_LIMIT):
            some = changes[start : start + SCRIPT_LIMIT]
            keys = [self.prefix + change.task_id for change in some]
            arguments: list[Any] = [now, self.channel, self._id_at, self.index]
            arguments += [_written(change, now) for change in some]
            reply: bytes = await self._client.run(_TRANSITION, keys, arguments)
            accepted += [one == _ACCEPTED for one in reply]
        return accepted

    async def store_progress(self, updates: Sequence[ProgressUpdate], now: float) -> None:
        """Store progress; progress of tasks that are unknown or have ended is ignored."""
        for start in range(0, len(updates), SCRIPT_LIMIT):
            some = updates[start : start + SCRIPT_LIMIT]
            arguments: list[Any] = [now]
            for update in some:
                progress = encode_progress(progress_fields(update.progress))
                arguments += (*lifetime(update.ttl, now), progress)
            await self._client.run(
                _PROGRESS, [self.prefix + update.task_id for update in some], arguments
            )

    async def fetch(self, task_ids: Sequence[str], now: float) -> list[TaskRecord | None]:
        """Return records in one round trip; None for a task without a record (any more)."""
        if not task_ids:
            return []
        values = await self._client.call("MGET", *(self.prefix + task_id for task_id in task_ids))
        return [
            None if value is None else self.record(task_id, value, now)
            for task_id, value in zip(task_ids, values, strict=True)
        ]

    def record(self, task_id: str, value: bytes, now: float) -> TaskRecord | None:
        """Decode a stored record; None if it has expired or cannot be read."""
        return readable(task_id, lambda: _decoded(task_id, value, now))

    async def purge(self, keys: Sequence[str], now: float) -> int:
        """Remove the expired ones of some records, and return their number."""
        removed: int = await self._client.run(_PURGE, keys, [now])
        return removed


def lifetime(ttl: float, now: float) -> tuple[float, int]:
    """Return the time of expiry by our clock, and the milliseconds until Redis removes the key."""
    ttl = min(ttl, LONGEST_TTL)
    return now + ttl, max(1, round(ttl * 1000))


def _written(change: Transition, now: float) -> bytes:
    """Encode the record of a task that was unknown before."""
    fields: dict[str, Any] = {
        "updated_at": change.at,
        "task": change.task,
        "queue": change.queue,
    }
    if change.worker is not None:
        fields["worker"] = change.worker
    if change.reason is not None:
        fields["reason"] = writable(change.reason)
    if change.error is not None:
        fields["error"] = writable(change.error)
    if change.traceback is not None:
        fields["traceback"] = writable(change.traceback)
    if change.next_run is not None:
        fields["next_run"] = change.next_run
    if change.meta:
        fields["meta"] = change.meta
    expires_at = now + min(change.ttl, LONGEST_TTL)
    head = (
        f'{{"state":"{change.state.value}","replay":{change.replay},"attempt":{change.attempt},'
        f'"expires_at":{expires_at!r},"created_at":{change.at!r},\n"progress":null,\n'
    ).encode()
    rest = orjson.dumps(fields)
    if change.result is None:
        return head + rest[1:]
    return b'%b%b,"result":\n%b}' % (head, rest[1:-1], change.result)


def _decoded(task_id: str, value: bytes, now: float) -> TaskRecord | None:
    # orjson writes no line breaks, so the result begins after the third one
    first, second, rest = value.split(b"\n", 2)
    third, has_result, result = rest.partition(b"\n")
    fields = orjson.loads(b"".join((first, second, third, b"null}" if has_result else b"")))
    if fields.pop("expires_at") <= now:
        return None
    progress = fields.pop("progress")
    fields["state"] = TaskState(fields["state"])
    fields["result"] = result[:-1] if has_result else None
    return TaskRecord(
        task_id=task_id, progress=None if progress is None else Progress(**progress), **fields
    )
