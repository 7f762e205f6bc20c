-- Deletes what a trigger has on one topic: its group, inbox, retries, dead letters, counters, mailboxes and replays.
--
-- KEYS: stream inbox retry bodies dead stats jobs ...
--       (the rest: hashes of replays)
-- ARGV: group
-- Returns: number of keys that were deleted, the group counted as one
-- Atomic because: a trigger of this name that begins in between must find all of it or nothing; with the counters alone
--       it would go on where the one that is forgotten stood.

local stream, group = KEYS[1], ARGV[1]

local deleted = 0
if redis.call('TYPE', stream).ok == 'stream' then deleted = redis.call('XGROUP', 'DESTROY', stream, group) end
for index = 2, #KEYS do deleted = deleted + redis.call('UNLINK', KEYS[index]) end
return deleted
