-- Forgets a replay that is finished or given up; what it brought into the inbox stays there.
--
-- KEYS: replay stats
-- ARGV: id
-- Returns: 1 where there was such a replay, else 0
-- Atomic because: a next one may begin only when nothing of this one is left.

local stats = KEYS[2]
local ended = redis.call('DEL', KEYS[1])
if redis.call('TYPE', stats).ok == 'hash' and redis.call('HGET', stats, 'replay') == ARGV[1] then
  redis.call('HDEL', stats, 'replay')
end
return ended
