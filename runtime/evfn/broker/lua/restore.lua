-- Puts an instance's deliveries back on the list of a group that was made again.
--
-- KEYS: stream instances stats
-- ARGV: me, group, ids
-- Returns: {'FENCED'} with nothing changed; else {'OK', {ids that are mine now}}
-- Atomic because: what another instance holds by now must stay with it. What lies above the start of the group is
--       delivered by it, to someone: only what lies below was delivered by the group that vanished.

local stream, instances, stats = KEYS[1], KEYS[2], KEYS[3]
local me, group = ARGV[1], ARGV[2]

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end

-- Ids are compared as text: their numbers may be larger than a Lua number holds exactly.
local function above(one, other)
  if #one ~= #other then return #one > #other end
  return one > other
end
local start = redis.call('HGET', stats, 'start_id')
local start_ms, start_seq = string.match(start or '', '^(%d+)-(%d+)$')
local function delivered_before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if not start_ms then return false end
  if ms ~= start_ms then return above(start_ms, ms) end
  return not above(seq, start_seq)
end

local mine = {}
for index = 3, #ARGV do
  local id = ARGV[index]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending then
    if pending[2] == me then mine[#mine + 1] = id end
  elseif delivered_before(id) and #redis.call('XCLAIM', stream, group, me, 0, id, 'FORCE', 'JUSTID') > 0 then
    mine[#mine + 1] = id
  end
end
return {'OK', mine}
