-- Begins an instance's lease.
--
-- KEYS: instances
-- ARGV: me
-- Returns: the server's time in ms
-- Atomic because: an instance that lost its lease while the server was full must be able to begin another, and a full
--       server takes HSET only after a write that frees memory. No instance is called ''.

local instances, me = KEYS[1], ARGV[1]

redis.call('HDEL', instances, '')
redis.call('HSETNX', instances, me, 0)
local time = redis.call('TIME')
return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
