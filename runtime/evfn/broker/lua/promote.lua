-- Moves the retries that are due into their trigger's inbox.
--
-- KEYS: retry bodies inbox stats
-- ARGV: most to move, most bytes to move
-- Returns: {'BLOCKED', key, error} where a key stops it; else
--       {'OK', moved, {invocation ids without a body}, due time of the next or '', server time in ms}
-- Atomic because: a retry must be in the set or in the inbox, never in both or neither. ZREM is the first write, which
--       a full server still takes; what fails after it is taken back.

local retry, bodies, inbox, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most, most_bytes = ARGV[1], tonumber(ARGV[2])

local wanted = {[retry] = 'zset', [bodies] = 'hash', [inbox] = 'stream'}
for _, key in ipairs({retry, bodies, inbox}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted[key] then return {'BLOCKED', key, 'it holds something else'} end
end

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now = string.format('%.0f', now_ms)
-- Set back by more than a second, the clock would hold up every retry for as long: their times go back with it. Where
-- a full server refuses that, it refuses the first one, and the next call tries again.
local latest = redis.pcall('HGET', stats, 'clock')
local back = type(latest) == 'string' and tonumber(latest) - now_ms or 0
if back > 1000 then
  local waiting = redis.call('ZRANGE', retry, 0, -1, 'WITHSCORES')
  for index = 1, #waiting, 2 do
    local due = string.format('%.0f', tonumber(waiting[index + 1]) - back)
    if type(redis.pcall('ZADD', retry, 'XX', due, waiting[index])) == 'table' then break end
  end
end
local due = redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
local bytes, removed, dropped, moving, records = 0, {}, {}, {}, {}
for index = 1, #due, 2 do
  if bytes >= most_bytes then break end
  local invocation = due[index]
  removed[#removed + 1] = invocation
  local body = redis.call('HGET', bodies, invocation)
  if body then
    moving[#moving + 1] = index
    records[#records + 1] = body
    bytes = bytes + #body
  else
    dropped[#dropped + 1] = invocation
  end
end
if #removed > 0 then redis.call('ZREM', retry, unpack(removed)) end
local moved, refused = {}, nil
for number = 1, #moving do
  local added = redis.pcall('XADD', inbox, '*', 'record', records[number])
  if type(added) == 'table' then
    refused = added.err
    for back = number, #moving do redis.pcall('ZADD', retry, due[moving[back] + 1], due[moving[back]]) end
    break
  end
  moved[number] = due[moving[number]]
end
if #moved > 0 then redis.pcall('HDEL', bodies, unpack(moved)) end
-- Counted as delivered when they were first settled; without a body nothing can run them any more.
if #dropped > 0 then redis.pcall('HINCRBY', stats, 'dropped', #dropped) end
if refused then return {'BLOCKED', inbox, refused} end

redis.pcall('HSET', stats, 'clock', now)
local next_due = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')[2]
return {'OK', #moved, dropped, next_due or '', now}
