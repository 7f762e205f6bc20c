-- Takes over deliveries of an instance that is gone, and fences it for ever if it was only believed dead.
--
-- KEYS: stream instances stats
-- ARGV: me, group, owner, count, dead ('1': the owner's field may be removed), its beats as last seen or '' (any),
--       uncharged ('1': the delivery count stays), inbox ('1': what is dropped was counted as delivered before)
-- Returns: {'FENCED'} (I have no field myself); {'ALIVE'} (the owner has one, and may keep it); else
--       {'OK', {id, fields or false (no longer in the stream), delivery count, ...}}
-- Atomic because: the owner must not settle between being judged dead and losing its field, nor may two claimers take
--       the same delivery.

local stream, instances, stats = KEYS[1], KEYS[2], KEYS[3]
local me, group, owner, count, dead, seen, uncharged, inbox =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6], ARGV[7] == '1', ARGV[8] == '1'

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end
local beats = redis.call('HGET', instances, owner)
if beats and (not dead or (seen ~= '' and seen ~= beats)) then return {'ALIVE'} end
-- Asked first: a missing group must change nothing.
local pending = redis.call('XPENDING', stream, group, '-', '+', count, owner)
if beats then redis.call('HDEL', instances, owner) end

local result, dropped = {}, 0
for _, each in ipairs(pending) do
  local id, deliveries = each[1], each[4]
  local fields = false
  if uncharged then
    if #redis.call('XCLAIM', stream, group, me, 0, id, 'JUSTID') > 0 then
      fields = redis.call('XRANGE', stream, id, id)[1][2]
    end
  else
    local claimed = redis.call('XCLAIM', stream, group, me, 0, id)
    if claimed[1] then
      fields = claimed[1][2]
      deliveries = deliveries + 1
    end
  end
  if not fields then dropped = dropped + 1 end
  result[#result + 1] = id
  result[#result + 1] = fields
  result[#result + 1] = deliveries
end
if dropped > 0 then
  -- XCLAIM has taken them off the list: trimmed by someone, nothing can run them any more.
  -- What an inbox holds was counted as delivered when its first attempt was settled.
  if not inbox then redis.pcall('HINCRBY', stats, 'delivered', dropped) end
  redis.pcall('HINCRBY', stats, 'dropped', dropped)
end
return {'OK', result}
