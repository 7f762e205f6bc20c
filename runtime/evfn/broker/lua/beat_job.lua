-- One beat of a job; with '1' it says that its function runs from now on.
--
-- KEYS: jobs
-- ARGV: run, me, begun ('1' or '')
-- Returns: 1, or 0 with nothing changed where the run is not this job's any more
-- Atomic because: a beat must never bring back a mailbox that was closed, nor count for another's run.

local jobs, run, me = KEYS[1], ARGV[1], ARGV[2]

if redis.call('HGET', jobs, run .. ':by') ~= me or redis.call('HEXISTS', jobs, run .. ':report') == 1 then return 0 end
-- A full server refuses HINCRBY as a first write, but not after one that frees memory. No run is called ''.
redis.call('HDEL', jobs, '')
redis.call('HINCRBY', jobs, run .. ':beats', 1)
if ARGV[3] == '1' then redis.call('HSET', jobs, run .. ':begun', 1) end
return 1
