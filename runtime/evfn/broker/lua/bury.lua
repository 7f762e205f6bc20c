-- Removes what is left of an instance that has been dead for long and holds nothing anybody takes over.
--
-- KEYS: instances about beaten
-- ARGV: name, its beats as last seen
-- Returns: 1, or 0 with nothing changed: it beat meanwhile, or is gone
-- Atomic because: one that beats again must keep its lease.

local instances, about, beaten = KEYS[1], KEYS[2], KEYS[3]
local name, seen = ARGV[1], ARGV[2]

if redis.call('HGET', instances, name) ~= seen then return 0 end
redis.call('HDEL', instances, name)
redis.pcall('HDEL', about, name)
redis.pcall('HDEL', beaten, name)
return 1
