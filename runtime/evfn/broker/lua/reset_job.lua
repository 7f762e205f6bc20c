-- Empties the mailbox of a run, so that a new job may run it; may leave a word why the last one did not.
--
-- KEYS: jobs
-- ARGV: run, by ('' for nobody), beats seen ('' where they do not matter), refusal ('' for none)
-- Returns: 1, or 0 with nothing changed where it is not as it was
-- Atomic because: a run that another has taken meanwhile must keep its mailbox.

local jobs, run, by, seen, refusal = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if (redis.call('HGET', jobs, run .. ':by') or '') ~= by then return 0 end
if seen ~= '' and redis.call('HGET', jobs, run .. ':beats') ~= seen then return 0 end
redis.call('HDEL', jobs, run .. ':by', run .. ':beats', run .. ':begun', run .. ':report', run .. ':refusal')
if refusal ~= '' then redis.call('HSET', jobs, run .. ':refusal', refusal) end
return 1
