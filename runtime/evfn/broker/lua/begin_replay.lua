-- Begins a replay of one topic to one trigger, unless another one is unfinished.
--
-- KEYS: replay stats
-- ARGV: id, (field, value)*
-- Returns: {'BLOCKED', key, error} with nothing changed; {'UNFINISHED', id of the other}; else {'OK'}, also where this
--       very replay was begun by an earlier call
-- Atomic because: two people who begin one at the same moment must not both succeed.

local replay, stats = KEYS[1], KEYS[2]
local id = ARGV[1]

for _, key in ipairs({replay, stats}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= 'hash' then return {'BLOCKED', key, 'it holds something else'} end
end
local unfinished = redis.call('HGET', stats, 'replay')
if unfinished == id then return {'OK'} end
if unfinished then return {'UNFINISHED', unfinished} end
redis.call('HSET', replay, unpack(ARGV, 2))
local noted = redis.pcall('HSET', stats, 'replay', id)
if type(noted) == 'table' then
  redis.pcall('DEL', replay)
  return {'BLOCKED', stats, noted.err}
end
return {'OK'}
