-- Adds one piece of a replay to its trigger's inbox and moves the replay's cursor over it.
--
-- KEYS: replay inbox stats
-- ARGV: cursor that the piece begins behind, cursor behind the piece, number of events in it, most entries in the
--       inbox, record*
-- Returns: {'BLOCKED', key, error} with nothing changed; {'GONE'} where the replay was ended meanwhile; {'MOVED'} where
--       its cursor stands elsewhere: somebody else, or an earlier call, added the piece; {'FULL'}; else {'OK'}
-- Atomic because: a cursor moved without its events would lose them, events without the cursor would come again. The
--       cursor is the first write, which a full server refuses with the whole; what fails after it is taken back.

local replay, inbox, stats = KEYS[1], KEYS[2], KEYS[3]
local behind, cursor, events, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local wanted = {[replay] = 'hash', [inbox] = 'stream'}
for _, key in ipairs({replay, inbox}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted[key] then return {'BLOCKED', key, 'it holds something else'} end
end
local now, seen, replayed = unpack(redis.call('HMGET', replay, 'cursor', 'seen', 'replayed'))
if not now then return {'GONE'} end
if now ~= behind then return {'MOVED'} end
local count = #ARGV - 4
if count > 0 and redis.call('XLEN', inbox) >= most then return {'FULL'} end

local function sum(one, other) return string.format('%.0f', (tonumber(one) or 0) + other) end
redis.call('HSET', replay, 'cursor', cursor, 'seen', sum(seen, events), 'replayed', sum(replayed, count))
local added = {}
for index = 5, #ARGV do
  local id = redis.pcall('XADD', inbox, '*', 'record', ARGV[index])
  if type(id) == 'table' then
    for _, each in ipairs(added) do redis.pcall('XDEL', inbox, each) end
    redis.pcall('HSET', replay, 'cursor', behind, 'seen', seen, 'replayed', replayed)
    return {'BLOCKED', inbox, id.err}
  end
  added[#added + 1] = id
end
if count > 0 then redis.pcall('HINCRBY', stats, 'replayed', count) end
return {'OK'}
