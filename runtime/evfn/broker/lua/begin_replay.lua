-- Begins a replay of one topic to one trigger, unless another one is unfinished.
--
-- KEYS: replay stats
-- ARGV: id, (field, value)*
-- Returns: {'BLOCKED', key, error} with nothing changed; {'UNFINISHED', id of the other}; {'ENDED'} where this very
--       replay was ended; else {'OK'}, also where it was begun by an earlier call
-- Atomic because: two people who begin one at the same moment must not both succeed, and whoever goes on with one, for
--       all its topics, must not begin it again where another finished it meanwhile.

local replay, stats = KEYS[1], KEYS[2]
local id = ARGV[1]

for _, key in ipairs({replay, stats}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= 'hash' then return {'BLOCKED', key, 'it holds something else'} end
end
local unfinished, ended = unpack(redis.call('HMGET', stats, 'replay', 'replay_ended'))
if ended == id then return {'ENDED'} end
if unfinished == id then return {'OK'} end
if unfinished then return {'UNFINISHED', unfinished} end
redis.call('HSET', replay, unpack(ARGV, 2))
local noted = redis.pcall('HSET', stats, 'replay', id)
if type(noted) == 'table' then
  redis.pcall('DEL', replay)
  return {'BLOCKED', stats, noted.err}
end
return {'OK'}
