-- One beat of an instance.
--
-- KEYS: instances
-- ARGV: me
-- Returns: {'FENCED'} with nothing changed; else {'OK', {instance, beats, ...}} of all instances
-- Atomic because: a beat must never bring back a field that a claim has removed.

local instances, me = KEYS[1], ARGV[1]

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end
-- A full server refuses HINCRBY as a first write, but not after one that frees memory. No instance is called ''.
redis.call('HDEL', instances, '')
redis.call('HINCRBY', instances, me, 1)
return {'OK', redis.call('HGETALL', instances)}
