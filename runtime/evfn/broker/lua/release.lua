-- Hands deliveries this instance will not start to the consumer '-', for anyone to take.
--
-- KEYS: stream instances stats
-- ARGV: me, group, inbox ('1': what is dropped was counted as delivered before), ids
-- Returns: {'FENCED'} with nothing changed; else {'OK', released, dropped}
-- Atomic because: an id that another instance has claimed meanwhile must stay with it.

local stream, instances, stats = KEYS[1], KEYS[2], KEYS[3]
local me, group, inbox = ARGV[1], ARGV[2], ARGV[3] == '1'

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end
local released, dropped = 0, 0
for index = 4, #ARGV do
  local id = ARGV[index]
  if #redis.call('XPENDING', stream, group, id, id, 1, me) > 0 then
    if #redis.call('XCLAIM', stream, group, '-', 0, id, 'JUSTID') > 0 then
      released = released + 1
    else
      dropped = dropped + 1
    end
  end
end
if dropped > 0 then
  -- What an inbox holds was counted as delivered when its first attempt was settled.
  if not inbox then redis.pcall('HINCRBY', stats, 'delivered', dropped) end
  redis.pcall('HINCRBY', stats, 'dropped', dropped)
end
-- Others look for what was released when this counter moves; ':released' is no instance's name.
if released > 0 then redis.pcall('HINCRBY', instances, ':released', 1) end
return {'OK', released, dropped}
