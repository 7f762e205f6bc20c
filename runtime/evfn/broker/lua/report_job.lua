-- Writes how a run ended into its mailbox: the first report counts.
--
-- KEYS: jobs
-- ARGV: run, by, beats seen ('' where the job itself reports), report
-- Returns: 1 where this report is the one that counts, else 0
-- Atomic because: a job that was given up for dead, and comes back in the same moment, must not be believed as well.

local jobs, run, by, seen, report = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('HGET', jobs, run .. ':by') ~= by then return 0 end
local before = redis.call('HGET', jobs, run .. ':report')
if before then return before == report and 1 or 0 end
if seen ~= '' and redis.call('HGET', jobs, run .. ':beats') ~= seen then return 0 end
-- A full server refuses HSET as a first write, but not after one that frees memory. No run is called ''.
redis.call('HDEL', jobs, '')
redis.call('HSET', jobs, run .. ':report', report)
return 1
