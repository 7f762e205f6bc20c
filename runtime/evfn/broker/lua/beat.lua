-- One beat of an instance.
--
-- KEYS: instances beaten
-- ARGV: me
-- Returns: {'FENCED'} with nothing changed; else {'OK', {instance, beats, ...} of all instances, the server's time in ms}
-- Atomic because: a beat must never bring back a field that a claim has removed.

local instances, beaten, me = KEYS[1], KEYS[2], ARGV[1]

if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end
-- A full server refuses HINCRBY as a first write, but not after one that frees memory. No instance is called ''.
redis.call('HDEL', instances, '')
redis.call('HINCRBY', instances, me, 1)
-- When it was is for people only: nobody is judged by a clock.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.pcall('HSET', beaten, me, string.format('%.0f', now))
return {'OK', redis.call('HGETALL', instances), now}
