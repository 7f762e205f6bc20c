-- Counts as dropped what somebody trimmed from a topic before a group was given it.
--
-- KEYS: stream stats
-- ARGV: group
-- Returns: {how many more than at the last look, id they come after, id of the oldest event left or '', 1 where another
--       look would find the same until the stream changes}; the number is 0 where there are none, or where the server
--       cannot know
-- Atomic because: a fetch between the looks at the stream and at its group would make what it brought look missed; and
--       of two instances that look at the same time one must count.

local stream, stats, group = KEYS[1], KEYS[2], ARGV[1]
local none = {0, '', '', 0}

local function pairs_of(list)
  local result = {}
  for index = 1, #list, 2 do result[list[index]] = list[index + 1] end
  return result
end
if redis.call('TYPE', stream).ok ~= 'stream' then return none end
local ours
for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local info = pairs_of(each)
  if info['name'] == group then ours = info end
end
local remembered = redis.pcall('HGET', stats, 'trims')
if not ours or type(remembered) == 'table' then return none end
local info = pairs_of(redis.call('XINFO', 'STREAM', stream))
-- How far a group has read is not counted right by every server once single events were deleted.
if info['max-deleted-entry-id'] ~= '0-0' then return {0, '', '', 1} end

-- What was gone at the last look; how far the server's count of what this group has read was behind when that could
-- be seen (Redis 7.0 leaves out what was missed); where the group stood when something was missed last, until it has
-- read all there is: before that, what it reads cannot be told from what it misses.
local seen, behind, missed_at = string.match(remembered or '', '^(%d+) (-?%d*) (%S*)$')
local last = ours['last-delivered-id']
local removed = info['entries-added'] - info['length']

-- Ids are compared as text: their numbers may be larger than a Lua number holds exactly.
local function above(one, other)
  if #one ~= #other then return #one > #other end
  return one > other
end
local first = info['first-entry'] and info['first-entry'][1] or ''
local function all_unread()
  if first == '' then return true end
  local ms, seq = string.match(first, '^(%d+)-(%d+)$')
  local last_ms, last_seq = string.match(last, '^(%d+)-(%d+)$')
  return above(ms, last_ms) or (ms == last_ms and above(seq, last_seq))
end

local accounted = removed
if last == info['last-generated-id'] then
  behind = ours['entries-read'] and info['entries-added'] - ours['entries-read'] or ''
  missed_at = ''
elseif missed_at and missed_at ~= '' then
  if missed_at == last then accounted = tonumber(seen) end
elseif last == '0-0' then
  accounted = tonumber(seen or removed)
elseif ours['entries-read'] and behind and behind ~= '' then
  -- All it has read was added before what it has not: so much of what is gone it did read.
  accounted = math.max(tonumber(seen), ours['entries-read'] + behind)
end
-- Who has read nothing yet is not behind.
if last == '0-0' and removed == 0 then behind = '0' end
local missed = all_unread() and math.max(removed - accounted, 0) or 0
if missed > 0 then
  if type(redis.pcall('HINCRBY', stats, 'dropped', missed)) == 'table' then return none end
  redis.pcall('HINCRBY', stats, 'delivered', missed)
  missed_at = last
end
local now = string.format('%d %s %s', removed, behind or '', missed_at or '')
if now ~= remembered then redis.pcall('HSET', stats, 'trims', now) end
return {missed, last, first, last == info['last-generated-id'] and 1 or 0}
