-- Stores an event once within the publish window.
--
-- KEYS: stream seen seen topics
--       (seen: the two halves of the topic's publish marks; the odd windows' marks are in the second)
-- ARGV: mark, window in ms, fields and values
-- Returns: {'BLOCKED', key} with nothing changed; else {id, '1' when an earlier call had stored it, else '0'}
-- Atomic because: two calls with one mark must not both find it missing. XADD is the first write, so a full server
--       refuses all of it and no mark stands without its event.

local stream, topics = KEYS[1], KEYS[4]
local mark, window = ARGV[1], tonumber(ARGV[2])

local found = redis.call('TYPE', stream).ok
if found ~= 'none' and found ~= 'stream' then return {'BLOCKED', stream} end
for index = 2, 3 do
  local kind = redis.call('TYPE', KEYS[index]).ok
  if kind ~= 'none' and kind ~= 'hash' then return {'BLOCKED', KEYS[index]} end
end
local known = redis.call('HGET', KEYS[2], mark) or redis.call('HGET', KEYS[3], mark)
if known then return {known, '1'} end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local number = math.floor(now / window)
local seen = KEYS[2 + number % 2]

local id = redis.call('XADD', stream, '*', unpack(ARGV, 3))
redis.pcall('HSET', seen, mark, id)
-- A half serves one window and is looked at during the next; then it goes as a whole, before its turn comes again.
if redis.pcall('HLEN', seen) == 1 then
  redis.pcall('PEXPIREAT', seen, string.format('%.0f', (number + 2) * window))
end
if found == 'none' then redis.pcall('SADD', topics, stream) end
return {id, '0'}
