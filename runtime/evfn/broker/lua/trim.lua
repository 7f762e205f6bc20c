-- Trims a topic by its rules, never an entry that some group has yet to finish.
--
-- KEYS: stream ...
-- ARGV: most entries to trim (0: only look), retention in ms or '', most events or '', seconds within which all
--       instances put back what they hold of a group that was made again, number of groups, how many of them must be
--       there, the groups (those first), (group, id)* for replays that have yet to read what is at or above the
--       id. The further keys are the stats of these groups.
-- Returns: {'BLOCKED'} where the key is no stream; else
--       {'OK', trimmed, 1 when more may be trimmed at once, events left, oldest id left or '',
--        1 when a rule would trim more but must not, {group, pending, events not delivered or -1, ...}} where the last
--       are those whose unfinished events begin first, pending -1 for a group that is missing, -2 for a replay and -3 for a group
--       that was made again
-- Atomic because: a group could be made, moved back or given something to finish between looking and trimming.
--
-- What all have finished ends where the first unfinished entry begins: a group's smallest pending id, or the one behind
-- its last delivered id. Whole nodes of the stream are trimmed first, so that no call reads or copies what it trims.

local stream = KEYS[1]
local most, retention, most_events = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local found = redis.call('TYPE', stream).ok
if found == 'none' then return {'OK', 0, 0, 0, '', 0, {}} end
if found ~= 'stream' then return {'BLOCKED'} end

-- Ids are compared and counted as text: their numbers may be larger than a Lua number holds exactly.
local LARGEST = '18446744073709551615'
local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return ms or id, seq or '0'
end
local function smaller(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end
local function below(one, other)
  local ms, seq = split(one)
  local other_ms, other_seq = split(other)
  if ms ~= other_ms then return smaller(ms, other_ms) end
  return smaller(seq, other_seq)
end
local function plus_one(number)
  local head, digit, nines = string.match(number, '^(.-)([0-8]?)(9*)$')
  return head .. string.format('%d', (tonumber(digit) or 0) + 1) .. string.rep('0', #nines)
end
local function behind(id)
  local ms, seq = split(id)
  if seq ~= LARGEST then return ms .. '-' .. plus_one(seq) end
  -- Behind the last id there is nothing; that the last entry stays is no harm.
  if ms == LARGEST then return id end
  return plus_one(ms) .. '-0'
end

local low, holders
local function holds(id, name, pending, lag)
  if low and below(low, id) then return end
  if not low or below(id, low) then low, holders = id, {} end
  holders[#holders + 1], holders[#holders + 2], holders[#holders + 3] = name, pending, lag
end

local there = {}
for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local info = {}
  for index = 1, #each, 2 do info[each[index]] = each[index + 1] end
  local name, pending = info['name'], info['pending']
  there[name] = true
  local id = behind(info['last-delivered-id'])
  if pending > 0 then
    local first = redis.call('XPENDING', stream, name)[2]
    if below(first, id) then id = first end
  end
  holds(id, name, pending, info['lag'] or -1)
end
local time = redis.call('TIME')
local listed, wanted = tonumber(ARGV[5]), tonumber(ARGV[6])
for index = 1, listed do
  local group = ARGV[6 + index]
  if not there[group] then
    if index <= wanted then holds('0-0', group, -1, -1) end
  else
    local made_again = redis.pcall('HGET', KEYS[1 + index], 'made_again')
    if type(made_again) == 'string' and math.abs(tonumber(time[1]) - tonumber(made_again)) < tonumber(ARGV[4]) then
      holds('0-0', group, -3, -1)
    end
  end
end
for index = 7 + listed, #ARGV, 2 do holds(ARGV[index + 1], ARGV[index], -2, -1) end

local expired
if retention ~= '' then
  local ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - tonumber(retention)
  expired = string.format('%.0f-0', math.max(ms, 0))
end

local trimmed, more = 0, 0
local function trim(id, count)
  if low and below(low, id) then id = low end
  local removed = redis.call('XTRIM', stream, 'MINID', '~', id, 'LIMIT', count)
  trimmed = trimmed + removed
  if removed > 0 then more = 1 end
  return id, removed
end

if most > 0 and expired then
  local id, removed = trim(expired, most)
  -- No whole node is left to trim: what remains is part of one.
  if removed == 0 then trimmed = trimmed + redis.call('XTRIM', stream, 'MINID', '=', id) end
end
if most > 0 and most_events and more == 0 then
  local excess = redis.call('XLEN', stream) - most_events
  if excess > 0 then
    local id, removed = trim(LARGEST .. '-' .. LARGEST, math.min(excess, most))
    if removed == 0 then
      -- Fewer than a node holds, so few and small; the one behind the excess is the first to stay.
      local step = math.min(excess, 100)
      local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', step + 1)
      if #entries > step and below(entries[step + 1][1], id) then id = entries[step + 1][1] end
      removed = redis.call('XTRIM', stream, 'MINID', '=', id)
      trimmed = trimmed + removed
      if removed == step and excess > step then more = 1 end
    end
  end
end

local length = redis.call('XLEN', stream)
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local oldest, held = first and first[1] or '', 0
if first and low and not below(oldest, low) then
  if (expired and below(oldest, expired)) or (most_events and length > most_events) then held = 1 end
end
return {'OK', trimmed, more, length, oldest, held, holders or {}}
