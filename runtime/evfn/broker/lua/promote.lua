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
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local due = redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
local moved, bytes, dropped = 0, 0, {}
for index = 1, #due, 2 do
  local invocation, score = due[index], due[index + 1]
  local body = redis.call('HGET', bodies, invocation)
  if redis.call('ZREM', retry, invocation) == 1 then
    if body then
      local added = redis.pcall('XADD', inbox, '*', 'record', body)
      if type(added) == 'table' then
        redis.pcall('ZADD', retry, score, invocation)
        return {'BLOCKED', inbox, added.err}
      end
      redis.pcall('HDEL', bodies, invocation)
      moved = moved + 1
      bytes = bytes + #body
    else
      dropped[#dropped + 1] = invocation
    end
  end
  if bytes >= most_bytes then break end
end
-- Counted as delivered when they were first settled; without a body nothing can run them any more.
if #dropped > 0 then redis.pcall('HINCRBY', stats, 'dropped', #dropped) end

local next_due = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')[2]
return {'OK', moved, dropped, next_due or '', now}
