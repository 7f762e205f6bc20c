-- Puts an instance's running deliveries back on the list of a group that was made again.
--
-- KEYS: stream instances
-- ARGV: me, group, ids
-- Returns: {'FENCED'} with nothing changed; else {'OK', {ids that are mine now}}
-- Atomic because: what another instance holds by now must stay with it.

local stream, instances = KEYS[1], KEYS[2]
local me, group = ARGV[1], ARGV[2]

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end
local mine = {}
for index = 3, #ARGV do
  local id = ARGV[index]
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending then
    if pending[2] == me then mine[#mine + 1] = id end
  elseif #redis.call('XCLAIM', stream, group, me, 0, id, 'FORCE', 'JUSTID') > 0 then
    mine[#mine + 1] = id
  end
end
return {'OK', mine}
