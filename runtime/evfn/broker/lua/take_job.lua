-- Takes the mailbox of a run, so that no other job runs the same, and reads the entry that is to be run.
--
-- KEYS: stream jobs
-- ARGV: group, id, run, me
-- Returns: {'GONE'} where the entry is not pending any more; {'TAKEN', by} where another has it, or had it and is not
--       judged yet; else the run is mine: {'OK', fields and values}, {'TRIMMED'} where the entry itself is no more
-- Atomic because: two jobs of one run, both of which see an empty mailbox, would both run.

local stream, jobs = KEYS[1], KEYS[2]
local group, id, run, me = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('TYPE', stream).ok ~= 'stream' then return {'GONE'} end
local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
if pending.err or #pending == 0 then return {'GONE'} end
local by = redis.call('HGET', jobs, run .. ':by')
if by and by ~= me then return {'TAKEN', by} end
-- Said again after a lost reply, it changes nothing.
if not by then redis.call('HSET', jobs, run .. ':by', me, run .. ':beats', 0) end
local entry = redis.call('XRANGE', stream, id, id)[1]
if not entry then return {'TRIMMED'} end
return {'OK', entry[2]}
