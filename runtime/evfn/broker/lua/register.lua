-- Begins an instance's lease.
--
-- KEYS: instances
-- ARGV: me
-- Returns: 1, or 0 where the lease had begun before
-- Atomic because: an instance that lost its lease while the server was full must be able to begin another, and a full
--       server takes HSET only after a write that frees memory. No instance is called ''.

local instances, me = KEYS[1], ARGV[1]

redis.call('HDEL', instances, '')
return redis.call('HSETNX', instances, me, 0)
