"""The script that removes expired hashes: Redis expires keys by its own clock, not by the backend's."""

from __future__ import annotations

from stem_amqp.results.redis.client import Script

_PURGE = r"""
local removed = 0
for _, key in ipairs(KEYS) do
  if not is_live(key, ARGV[1]) then removed = removed + redis.call('DEL', key) end
end
return removed
"""


def purge_script(functions: str, is_live: str) -> Script:
    """Return a script that deletes the expired ones of its keys, and returns their number.

    Its argument is the time in seconds since the epoch.

    Args:
        functions: Lua code that defines the function.
        is_live: the name of the function of a key and a time; false for an expired or unreadable key.
    """
    return Script(functions + _PURGE.replace("is_live", is_live))
