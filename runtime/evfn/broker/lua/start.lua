-- Makes a trigger's consumer groups on a topic and its inbox, or moves the topic's to a changed start.
--
-- KEYS: stream inbox stats
-- ARGV: group, mode ('start', 'late': the stream was not there when the start was decided, 'recreate': the group was
--       there and vanished), last id not to be delivered ('$' for the newest), start as written, last id known to have
--       been delivered or '', (only with 'recreate') the instance that makes it again, ids that it holds
-- Returns: {'BLOCKED', key} with nothing changed; else {what, last id not to be delivered, events skipped or -1, id of the
--       topic's newest entry, of the inbox's ('' where they are empty), last id of the inbox that was delivered} where
--       what is CREATED, KEPT, MOVED, INEFFECTIVE (the start changed after the first delivery) or RECREATED
-- Atomic because: between looking whether anything was delivered and moving the group, something could be; and two
--       instances that start together must not both decide. What the one that makes a group again holds must be on
--       its list from the first moment: if that one died in between, nobody would know of it.

local stream, inbox, stats = KEYS[1], KEYS[2], KEYS[3]
local group, mode, position, text, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local function kind(key) return redis.call('TYPE', key).ok end
local found = kind(stream)
if found ~= 'none' and found ~= 'stream' then return {'BLOCKED', stream} end
local inbox_found = kind(inbox)
if inbox_found ~= 'none' and inbox_found ~= 'stream' then return {'BLOCKED', inbox} end
local stats_found = kind(stats)
if stats_found ~= 'none' and stats_found ~= 'hash' then return {'BLOCKED', stats} end

local function pairs_of(list)
  local result = {}
  for index = 1, #list, 2 do result[list[index]] = list[index + 1] end
  return result
end
local function group_of(key)
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local info = pairs_of(each)
    if info['name'] == group then return info end
  end
end
-- Ids are compared as text: their numbers may be larger than a Lua number holds exactly.
local function below(one, other)
  local ms, seq = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  if ms ~= other_ms then
    if #ms ~= #other_ms then return #ms < #other_ms end
    return ms < other_ms
  end
  if #seq ~= #other_seq then return #seq < #other_seq end
  return seq < other_seq
end

local newest = '0-0'
if found == 'stream' then newest = pairs_of(redis.call('XINFO', 'STREAM', stream))['last-generated-id'] end
local existing = found == 'stream' and group_of(stream)
local started, started_at, delivered = unpack(redis.call('HMGET', stats, 'start', 'start_id', 'last_delivered'))

local inbox_group = inbox_found ~= 'none' and group_of(inbox)
if not inbox_group then redis.call('XGROUP', 'CREATE', inbox, group, '0', 'MKSTREAM') end
local function last_entry(key)
  local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

local function told(what, position, skipped)
  local inbox_last = inbox_group and inbox_group['last-delivered-id'] or '0-0'
  return {what, position, skipped, last_entry(stream), last_entry(inbox), inbox_last}
end

local function remember(id)
  redis.call('HSET', stats, 'start', text, 'start_id', id)
end

if existing then
  local at = existing['last-delivered-id']
  if mode == 'recreate' or started == text then return told('KEPT', at, 0) end
  if not started then
    -- Made by an older evfn or by hand: where it stands is its start.
    redis.call('HSET', stats, 'start', text)
    return told('KEPT', at, 0)
  end
  if delivered or existing['pending'] > 0 or at ~= started_at then return told('INEFFECTIVE', at, 0) end
  redis.call('XGROUP', 'SETID', stream, group, position)
  local id = position == '$' and newest or position
  remember(id)
  return told('MOVED', id, position == '$' and redis.call('XLEN', stream) or -1)
end

if known ~= '' and (not delivered or below(delivered, known)) then delivered = known end
local last = delivered or started_at
if last or mode == 'recreate' then
  -- A stream whose newest id lies before what was delivered is a new one: all of it is unread.
  if not last or below(newest, last) then last = '0-0' end
  redis.call('XGROUP', 'CREATE', stream, group, last, 'MKSTREAM')
  -- Who makes a vanished group again does not know the start as written; the next start tells it.
  if not started and text ~= '' then redis.call('HSET', stats, 'start', text) end
  -- Instances put back what they hold of it one after the other; trim.lua waits for them.
  redis.call('HSET', stats, 'start_id', last, 'made_again', redis.call('TIME')[1])
  for index = 7, #ARGV do
    if not below(last, ARGV[index]) then
      redis.call('XCLAIM', stream, group, ARGV[6], 0, ARGV[index], 'FORCE', 'JUSTID')
    end
  end
  return told('RECREATED', last, 0)
end
if mode == 'late' then position = '0-0' end
redis.call('XGROUP', 'CREATE', stream, group, position, 'MKSTREAM')
local id = position == '$' and newest or position
remember(id)
return told('CREATED', id, position == '$' and redis.call('XLEN', stream) or (position == '0-0' and 0 or -1))
