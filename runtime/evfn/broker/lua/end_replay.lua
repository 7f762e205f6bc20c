-- Forgets a replay that is finished or given up; what it brought into the inbox stays there.
--
-- KEYS: replay stats
-- ARGV: id
-- Returns: 1 where there was such a replay, else 0
-- Atomic because: a next one may begin only when nothing of this one is left.

local replay, stats = KEYS[1], KEYS[2]
local id = ARGV[1]

local ended = redis.call('DEL', replay)
if redis.call('TYPE', stats).ok == 'hash' and redis.call('HGET', stats, 'replay') == id then
  redis.call('HDEL', stats, 'replay')
  redis.pcall('HSET', stats, 'replay_ended', id)
end
return ended
