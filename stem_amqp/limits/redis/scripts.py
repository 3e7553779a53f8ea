"""The scripts of limits in Redis; the rules are those of `stem_amqp.limits.decide`.

Each takes the keys of its limits in pairs (state, leases) after the index, and a JSON document. The first two
numbers of the document are the time, null for the server's own, and the seconds for which keys outlive what they
contain.
"""

from __future__ import annotations

from stem_amqp.limits import decide
from stem_amqp.limits.base import GRACE, HORIZON, MAXIMUM_WAIT, MINIMUM_WAIT
from stem_amqp.results.redis.client import Script

_CONSTANTS = {
    "GRACE": GRACE,
    "HORIZON": HORIZON,
    "MAXIMUM_WAIT": MAXIMUM_WAIT,
    "MINIMUM_WAIT": MINIMUM_WAIT,
    "LONGEST_SPACING": decide.LONGEST_SPACING,
    "SHORTEST_SPACING": decide.SHORTEST_SPACING,
    "ASKS_OF_A_RUN": decide.ASKS_OF_A_RUN,
    "ASKS_OF_AN_END": decide.ASKS_OF_AN_END,
    "FIRST_DURATION": decide.FIRST_DURATION,
    "PATIENCE": decide.PATIENCE,
    "LEAST_INTERVALS": decide.LEAST_INTERVALS,
    "GAP": decide.GAP,
    "SMOOTHING": decide.SMOOTHING,
    "IDLE_TTL": decide.IDLE_TTL,
}

# A state is read once for a script, however many asks use it, and written at its end.
_SHELF = (
    "".join(f"local {name} = {value!r}\n" for name, value in _CONSTANTS.items())
    + r"""
local input = cjson.decode(ARGV[1])
local max, min = math.max, math.min
local now, slack = input[1], input[2]
if now == cjson.null then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local fields = {'arrival', 'overflow', 'interval', 'queue', 'spacing', 'alive', 'mean', 'expires'}
local states, counts, latest = {}, {}, {}

local function precise(number) return string.format('%.6f', number) end

local function milliseconds(expires)
  return string.format('%.0f', max(1, math.ceil((expires - now + slack) * 1000)))
end

local function state_of(limit)
  local found = states[limit]
  if found then return found end
  found = {}
  local values = redis.call('HMGET', KEYS[2 * limit], unpack(fields))
  local live = (tonumber(values[8]) or 0) > now
  for i, name in ipairs(fields) do found[name] = live and tonumber(values[i]) or 0 end
  states[limit] = found
  return found
end

local function running(limit)
  if not counts[limit] then
    redis.call('ZREMRANGEBYSCORE', KEYS[2 * limit + 1], '-inf', precise(now))
    counts[limit] = redis.call('ZCARD', KEYS[2 * limit + 1])
  end
  return counts[limit]
end

local function leased(limit, token)
  return running(limit) > 0 and redis.call('ZSCORE', KEYS[2 * limit + 1], token) and true or false
end

local function keep_lease(limit, token, expires)
  counts[limit] = running(limit)
    + redis.call('ZADD', KEYS[2 * limit + 1], precise(expires), token)
  latest[limit] = max(latest[limit] or 0, expires)
end

local function save()
  for limit, state in pairs(states) do
    local kept = state.mean > 0 and now + IDLE_TTL or now
    state.expires = max(state.arrival, state.overflow, state.queue, kept)
    if state.expires > now then
      local values = {}
      for _, name in ipairs(fields) do
        values[#values + 1] = name
        values[#values + 1] = precise(state[name])
      end
      redis.call('HSET', KEYS[2 * limit], unpack(values))
      redis.call('PEXPIRE', KEYS[2 * limit], milliseconds(state.expires))
    else
      redis.call('DEL', KEYS[2 * limit])
    end
  end
  for limit, expires in pairs(latest) do
    local ttl = milliseconds(expires)
    if redis.call('PTTL', KEYS[2 * limit + 1]) < tonumber(ttl) then
      redis.call('PEXPIRE', KEYS[2 * limit + 1], ttl)
    end
  end
end

local function index(names)
  local last = 0
  for limit, name in ipairs(names) do
    local expires = max(states[limit] and states[limit].expires or 0, latest[limit] or 0)
    if expires > now then
      redis.call('ZADD', KEYS[1], precise(expires), name)
      last = max(last, expires)
    end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', precise(now))
  if last > now and redis.call('PTTL', KEYS[1]) < tonumber(milliseconds(last)) then
    redis.call('PEXPIRE', KEYS[1], milliseconds(last))
  end
end
"""
)

_RULES = r"""
local names, lease_ttl, asks, starts_at = input[3], input[4], input[5], input[6]
local LIMIT, INTERVAL, BURST, CONCURRENCY, START = 1, 2, 3, 4, 5

local function start_of(want)
  local value = redis.call('GET', KEYS[starts_at + want[START]])
  if not value then return nil end
  local at, expires = string.match(value, '^(%S+) (%S+)$')
  return tonumber(expires) > now and tonumber(at) or nil
end

local function keep_start(want, at, expires)
  redis.call('SET', KEYS[starts_at + want[START]], precise(at) .. ' ' .. precise(expires),
    'PX', milliseconds(expires))
end

local function take(want, at)
  local state = state_of(want[LIMIT])
  state.interval = want[INTERVAL]
  state.arrival = max(state.arrival, now) + want[INTERVAL]
  keep_start(want, at, at + GRACE)
end

local function has_room(want, token, waited)
  if want[CONCURRENCY] == 0 or leased(want[LIMIT], token) then return true end
  local state = state_of(want[LIMIT])
  if waited and state.queue > now then
    state.alive = max(state.alive, now + state.spacing + PATIENCE)
  elseif state.queue > now and state.alive > now then
    return false
  end
  return running(want[LIMIT]) < want[CONCURRENCY]
end

local function next_turn(want, hint)
  local state = state_of(want[LIMIT])
  local mean = state.mean > 0 and state.mean or hint > 0 and hint or FIRST_DURATION
  local spacing = mean / max(ASKS_OF_A_RUN, ASKS_OF_AN_END * want[CONCURRENCY])
  state.spacing = min(max(spacing, SHORTEST_SPACING), LONGEST_SPACING)
  local last = state.alive > now and state.queue or 0
  return max(last + state.spacing, now + max(state.spacing, MINIMUM_WAIT))
end

local function waiting(held, at, want, final)
  for other, start in pairs(held) do keep_start(other, start, max(start, at) + GRACE) end
  return {max(at - now, 0.000001), at, final and 1 or 0, want[LIMIT]}
end

local function queued(full, hint, held)
  local want, turn
  for _, one in ipairs(full) do
    local its = next_turn(one, hint)
    if not turn or its > turn then want, turn = one, its end
  end
  local state = state_of(want[LIMIT])
  if state.queue <= now or state.alive <= now then state.alive = turn + PATIENCE end
  state.queue = turn
  return waiting(held, min(turn, now + MAXIMUM_WAIT), want, false)
end

local function reserved(want, start, waited, held, only)
  local state, ahead = state_of(want[LIMIT]), start - now
  local horizon = max(HORIZON, LEAST_INTERVALS * want[INTERVAL])
  local first = waited or state.overflow <= state.arrival or ahead <= GAP * horizon
  if first and ahead <= horizon then
    take(want, start)
    return waiting(held, start, want, only)
  end
  state.interval = want[INTERVAL]
  if not waited then
    state.overflow = max(state.overflow, state.arrival) + want[INTERVAL]
    ahead = state.overflow - now
  end
  local wait = min(max(ahead - horizon / 2, MINIMUM_WAIT), MAXIMUM_WAIT)
  return waiting(held, now + wait, want, false)
end

local function granted(wants, token, held)
  for _, want in ipairs(wants) do
    if want[INTERVAL] > 0 and not held[want] then take(want, now) end
    if want[CONCURRENCY] > 0 then keep_lease(want[LIMIT], token, now + lease_ttl) end
  end
  return {0, now, 1, 0}
end

local function decided(token, waited, hint, wants)
  local held, full = {}, {}
  for _, want in ipairs(wants) do
    if want[INTERVAL] > 0 then held[want] = start_of(want) end
    if not has_room(want, token, waited) then full[#full + 1] = want end
  end
  if #full > 0 then return queued(full, hint, held) end
  local latest, start
  for _, want in ipairs(wants) do
    if want[INTERVAL] > 0 then
      local tolerance = (want[BURST] - 1) * want[INTERVAL]
      local at = held[want] or max(now, state_of(want[LIMIT]).arrival - tolerance)
      if not start or at > start then latest, start = want, at end
    end
  end
  if not start or start <= now then return granted(wants, token, held) end
  local only = #wants == 1 and wants[1][CONCURRENCY] == 0
  if held[latest] then return waiting(held, start, latest, only) end
  return reserved(latest, start, waited, held, only)
end

local verdicts = {}
for i, ask in ipairs(asks) do
  local verdict = decided(ask[1], ask[2], ask[3], ask[4])
  verdicts[i] = precise(verdict[1]) .. ' ' .. precise(verdict[2]) .. ' ' .. verdict[3] .. ' '
    .. verdict[4]
end
save()
index(names)
return table.concat(verdicts, '\n')
"""

ASK = Script(_SHELF + _RULES)
"""Decides asks. After the limits come the keys of starts. The document goes on with the limits' names, the
leases' ttl, the asks (token, waited, hint, wants) and the number of keys before those of starts; a want has
limit, interval, burst, concurrency and the number of its start, with 0 for what it has not. Each line of the
reply has the wait, the time, whether it is reserved, and the number of the limit."""

RENEW = Script(
    _SHELF
    + r"""
local names, ttl, leases, held = input[3], input[4], input[5], {}
for i, lease in ipairs(leases) do
  held[i] = '1'
  for _, limit in ipairs(lease[2]) do
    if not leased(limit, lease[1]) then held[i] = '0' end
    keep_lease(limit, lease[1], now + ttl)
  end
end
save()
index(names)
return table.concat(held)
"""
)
"""Extends leases (token, limits); the reply has 1 for each that was held in all its limits."""

RELEASE = Script(
    _SHELF
    + r"""
local names, leases = input[3], input[4]
for _, lease in ipairs(leases) do
  for _, limit in ipairs(lease[2]) do
    if leased(limit, lease[1]) then
      redis.call('ZREM', KEYS[2 * limit + 1], lease[1])
      counts[limit] = counts[limit] - 1
      local state = state_of(limit)
      local weight = state.mean > 0 and SMOOTHING or 1
      -- not 0, which says that no run has ended
      state.mean = max(state.mean + (max(now - lease[3], 0) - state.mean) * weight, 0.000001)
    end
  end
end
save()
index(names)
"""
)
"""Ends leases (token, limits, when they were granted)."""

PEEK = Script(
    _SHELF
    + r"""
local found = {precise(now)}
for limit = 1, (#KEYS - 1) / 2 do
  local state, values = state_of(limit), {}
  for i, name in ipairs(fields) do values[i] = precise(state[name]) end
  found[limit + 1] = redis.call('ZCOUNT', KEYS[2 * limit + 1], '(' .. precise(now), '+inf')
    .. ' ' .. table.concat(values, ' ')
end
return table.concat(found, '\n')
"""
)
"""Reads limits: the time, and a line for each with its leases and the fields of its state."""

FIND = Script(
    _SHELF
    + r"""
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. precise(now), '+inf')
"""
)
"""Returns the names of the limits in use."""
