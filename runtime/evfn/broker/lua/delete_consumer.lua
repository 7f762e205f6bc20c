-- Deletes a consumer that has nothing pending and no living instance.
--
-- KEYS: stream instances
-- ARGV: group, consumer
-- Returns: 1 when it was deleted, 0 when it is still needed or was not there
-- Atomic because: a consumer's pending entries are deleted with it, so they must be none at that moment.

local stream, instances = KEYS[1], KEYS[2]
local group, consumer = ARGV[1], ARGV[2]

if redis.call('HEXISTS', instances, consumer) == 1 then return 0 end
for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local info = {}
  for index = 1, #each, 2 do info[each[index]] = each[index + 1] end
  if info['name'] == consumer then
    if info['pending'] > 0 then return 0 end
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
    return 1
  end
end
return 0
