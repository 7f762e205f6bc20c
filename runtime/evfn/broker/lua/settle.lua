-- Settles deliveries of one stream for one trigger: acks, emits, retries, dead letters, counters.
--
-- KEYS: stream stats instances retry bodies dead topics jobs ...
--       (stream: the topic or the inbox that delivered; jobs: what their jobs wrote, removed with the
--       ack; the rest: streams of the topics emitted to, then of traces)
-- ARGV: me, group, again ('r' in it when an earlier call of this content may have been carried out, 'c' when only
--       what is pending for me is to be settled: the server may be another than the one that delivered), inbox ('1' when
--       entries are deleted as they are settled), uses ('r' and 'd' where retries, dead letters are in it, a 't' for
--       each stream of a trace), last delivered id or '', number of plain ids, plain ids,
--       number of counters, (field, by)*, number of tallies, (number of counters, (field, by)*)*,
--       number of forms, (index into KEYS, tally, number of fields and values, fields and values, number of places
--         among them that are each emit's own, places, place of the value that is the entry's id between two others
--         (0: none), these two, number of entries with one emit of this form and nothing else, their ids, for each
--         place of their own the values of all of them)*,
--       entries to the end: id, delivery count, tally (0: none), where uses has a 't' the number of its trace
--       (0: none) and its report, then
--         'A', number of emits, (index into KEYS, number of fields and values, fields and values)*
--         'R', delay in ms, invocation id, record
--         'D', number of fields and values, fields and values
-- Returns: {'FENCED'} or {'BLOCKED', key}, both with nothing changed; else
--       {'OK', plain ids acked, error of the counters or '', {numbers of entries that were not pending},
--        {number of an entry, key, error, ...}} where the last are entries put back as they were.
-- Atomic because: an ack without its emits, retry or dead letter would lose them, and they without the ack would
--       come twice. Lua has no rollback, so everything that can fail is looked at first; the first write is an XACK,
--       which a full server still takes, and with it all that follows; what fails nevertheless is taken back.
--       A report is told with the settlement, so that a lost reply cannot tell it twice; it is never a reason to
--       settle nothing, so the streams of traces are not looked at.

local stream, stats, instances, retry, bodies, dead, topics, jobs = unpack(KEYS, 1, 8)
local me, group, inbox, uses, last, plain = ARGV[1], ARGV[2], ARGV[4] == '1', ARGV[5], ARGV[6], tonumber(ARGV[7])
local repeated, checked = string.find(ARGV[3], 'r', 1, true), string.find(ARGV[3], 'c', 1, true)

local kind = redis.call('TYPE', instances).ok
if kind ~= 'hash' then
  if kind == 'none' then return {'FENCED'} end
  return {'BLOCKED', instances}
end
if redis.call('HEXISTS', instances, me) == 0 then return {'FENCED'} end

local absent = {}
local function blocked(key, wanted)
  local found = redis.call('TYPE', key).ok
  absent[key] = found == 'none'
  return found ~= 'none' and found ~= wanted
end
if blocked(stream, 'stream') then return {'BLOCKED', stream} end
if string.find(uses, 'r', 1, true) then
  if blocked(retry, 'zset') then return {'BLOCKED', retry} end
  if blocked(bodies, 'hash') then return {'BLOCKED', bodies} end
end
if string.find(uses, 'd', 1, true) and blocked(dead, 'stream') then return {'BLOCKED', dead} end
local _, traces = string.gsub(uses, 't', '')
local emitted_to = #KEYS - traces
for index = 9, emitted_to do
  if blocked(KEYS[index], 'stream') then return {'BLOCKED', KEYS[index]} end
end
if emitted_to > 8 and blocked(topics, 'set') then return {'BLOCKED', topics} end

-- Read before the first write: what raises after it would lose what it raises for.
local now = 0
if string.find(uses, 'r', 1, true) then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  -- Set back, the clock has not come to where it was: what waits goes by that time until it is promoted next.
  local latest = redis.pcall('HGET', stats, 'clock')
  if type(latest) == 'string' and tonumber(latest) - now > 1000 then now = tonumber(latest) end
end
local scheduled = false

local function ack(id)
  if checked then
    local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
    if not pending or pending[2] ~= me then return 0 end
  end
  return redis.call('XACK', stream, group, id)
end

-- A mailbox nobody needs any more; whatever else there is under this name stays.
local mailboxes = redis.call('TYPE', jobs).ok == 'hash'
local function close(id)
  local run = (inbox and 'i' or 't') .. id
  redis.pcall('HDEL', jobs, run .. ':by', run .. ':beats', run .. ':begun', run .. ':report', run .. ':refusal')
end

local acked, taken = 0, 0
if inbox then
  local gone = {}
  for index = 8, 7 + plain do
    if ack(ARGV[index]) == 1 then
      acked = acked + 1
      gone[acked] = ARGV[index]
      if mailboxes then close(ARGV[index]) end
    end
  end
  if acked > 0 then redis.pcall('XDEL', stream, unpack(gone)) end
elseif checked or mailboxes then
  for index = 8, 7 + plain do
    if ack(ARGV[index]) == 1 then
      acked = acked + 1
      if mailboxes then close(ARGV[index]) end
    end
  end
elseif plain > 0 then
  acked = redis.call('XACK', stream, group, unpack(ARGV, 8, 7 + plain))
end
taken = acked

local at = 8 + plain
local function counters()
  local count = tonumber(ARGV[at])
  local first = at + 1
  at = first + 2 * count
  return {first, at - 1}
end
local sums = counters()
local tallies = {}
local times = {}
local number_of_tallies = tonumber(ARGV[at])
at = at + 1
for tally = 1, number_of_tallies do
  tallies[tally] = counters()
  times[tally] = 0
end

local function write_emits(first, count)
  local written, created = {}, {}
  local from = first
  for _ = 1, count do
    local key, values = KEYS[tonumber(ARGV[from])], tonumber(ARGV[from + 1])
    local id = redis.pcall('XADD', key, '*', unpack(ARGV, from + 2, from + 1 + values))
    if type(id) == 'table' then
      for undo = #written, 1, -1 do redis.pcall('XDEL', written[undo][1], written[undo][2]) end
      return key, id.err
    end
    written[#written + 1] = {key, id}
    if absent[key] then created[key] = true end
    from = from + 2 + values
  end
  for key in pairs(created) do
    redis.pcall('SADD', topics, key)
    absent[key] = false
  end
  return nil, nil, written
end

local function write_retry(first)
  local invocation, record = ARGV[first + 1], ARGV[first + 2]
  local due = now + tonumber(ARGV[first])
  local new = redis.pcall('HSET', bodies, invocation, record)
  if type(new) == 'table' then return bodies, new.err end
  local added = redis.pcall('ZADD', retry, string.format('%.0f', due), invocation)
  if type(added) == 'table' then
    if new == 1 then redis.pcall('HDEL', bodies, invocation) end
    return retry, added.err
  end
  scheduled = true
end

-- A trace is read while it grows; whoever does not read it any more must not fill the server.
local LONGEST_TRACE, TRACE_KEPT_MS = 100000, 3600000
local function tell(key, report, written, letter)
  local fields = {'report', report}
  if written and #written > 0 then
    local ids = {}
    for index = 1, #written do ids[index] = written[index][2] end
    fields[3], fields[4] = 'emits', table.concat(ids, ' ')
  elseif letter then
    fields[3], fields[4] = 'dead', letter
  end
  local told = redis.pcall('XADD', key, 'MAXLEN', '~', LONGEST_TRACE, '*', unpack(fields))
  if type(told) == 'string' then redis.pcall('PEXPIRE', key, TRACE_KEPT_MS) end
end

local missing, refused, lost = {}, {}, 0
local number = 0
local function refuse(id, deliveries, key, err)
  -- FORCE makes the pending entry anew, JUSTID and RETRYCOUNT leave its delivery count as it was.
  local back = redis.pcall('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', deliveries, 'FORCE', 'JUSTID')
  if #back == 0 then lost = lost + 1 end
  refused[#refused + 1] = number
  refused[#refused + 1] = key
  refused[#refused + 1] = err
end

-- How many of these ids, from the first on, are acked by this, each of them surely. All at once take a third of the time
-- of one by one, but do not say which of them were pending: so that is looked at before. Where it is not to be seen
-- (others are between them, or not mine, or not in order) the rest is left to be acked one by one.
local function acked_together(first, total)
  local pending = redis.pcall('XPENDING', stream, group, ARGV[first], ARGV[first + total - 1], 2 * total, me)
  local following = first
  for index = 1, #pending do
    if pending[index][1] == ARGV[following] then following = following + 1 end
  end
  if following > first then redis.call('XACK', stream, group, unpack(ARGV, first, following - 1)) end
  return following - first
end

local function write_formed()
  local key, tally, count = KEYS[tonumber(ARGV[at])], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local command = {'XADD', key, '*', unpack(ARGV, at + 3, at + 2 + count)}
  at = at + 3 + count
  local own = tonumber(ARGV[at])
  local places = {}
  for index = 1, own do places[index] = 3 + tonumber(ARGV[at + index]) end
  at = at + own + 1
  local named, before, after = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2]
  at = at + 3
  local total = tonumber(ARGV[at])
  local surely = acked_together(at + 1, total)
  for index = 1, total do
    local id = ARGV[at + index]
    number = number + 1
    if index <= surely or ack(id) == 1 then
      for value = 1, own do command[places[value]] = ARGV[at + value * total + index] end
      if named > 0 then command[3 + named] = before .. id .. after end
      local added = redis.pcall(unpack(command))
      if type(added) == 'table' then
        refuse(id, 1, key, added.err)
      else
        taken = taken + 1
        times[tally] = times[tally] + 1
        if inbox then redis.pcall('XDEL', stream, id) end
        if mailboxes then close(id) end
        if absent[key] then
          redis.pcall('SADD', topics, key)
          absent[key] = false
        end
      end
    else
      missing[#missing + 1] = number
    end
  end
  at = at + 1 + (1 + own) * total
end

local forms = tonumber(ARGV[at])
at = at + 1
for _ = 1, forms do write_formed() end

while at <= #ARGV do
  local id, deliveries, tally = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local trace, report = 0, nil
  if traces > 0 then
    trace, report = tonumber(ARGV[at + 3]), ARGV[at + 4]
    at = at + 2
  end
  local what, first, count = ARGV[at + 3], at + 4, 0
  if what == 'A' then
    count = tonumber(ARGV[first])
    first = first + 1
    at = first
    for _ = 1, count do at = at + 2 + tonumber(ARGV[at + 1]) end
  elseif what == 'R' then
    at = first + 3
  else
    count = tonumber(ARGV[first])
    first = first + 1
    at = first + count
  end
  number = number + 1
  if ack(id) == 1 then
    local key, err, written, letter
    if what == 'A' then
      key, err, written = write_emits(first, count)
    elseif what == 'R' then
      key, err = write_retry(first)
    else
      local added = redis.pcall('XADD', dead, '*', unpack(ARGV, first, first + count - 1))
      if type(added) == 'table' then key, err = dead, added.err else letter = added end
    end
    if key then
      refuse(id, deliveries, key, err)
    else
      taken = taken + 1
      if tally > 0 then times[tally] = times[tally] + 1 end
      if inbox then redis.pcall('XDEL', stream, id) end
      if mailboxes then close(id) end
      if trace > 0 then tell(KEYS[emitted_to + trace], report, written, letter) end
    end
  else
    missing[#missing + 1] = number
  end
end

local problem = ''
local function count(field, by)
  local reply = redis.pcall('HINCRBY', stats, field, by)
  if type(reply) == 'table' and problem == '' then problem = reply.err end
end
-- Said again, a call whose acks were all taken by the first one counts nothing.
if taken > 0 or (plain == 0 and number == 0) then
  for field = sums[1], sums[2], 2 do count(ARGV[field], ARGV[field + 1]) end
end
for tally = 1, number_of_tallies do
  if times[tally] > 0 then
    local range = tallies[tally]
    for field = range[1], range[2], 2 do
      count(ARGV[field], string.format('%.0f', tonumber(ARGV[field + 1]) * times[tally]))
    end
  end
end
-- Trimmed by somebody while it ran, and its output refused: there is no list any more that could hold it.
if lost > 0 then
  if not inbox then count('delivered', lost) end
  count('dropped', lost)
end
local unacked = plain - acked + #missing
if unacked > 0 and not repeated then count('missing', unacked) end

-- By this whoever promotes it sees that the clock was set back meanwhile.
if scheduled then redis.pcall('HSET', stats, 'clock', string.format('%.0f', now)) end

if last ~= '' then
  -- Ids are compared as text: their numbers may be larger than a Lua number holds exactly.
  local function above(one, other)
    if #one ~= #other then return #one > #other end
    return one > other
  end
  local known = redis.pcall('HGET', stats, 'last_delivered')
  local newer = not known
  if type(known) == 'string' then
    local ms, seq = string.match(last, '^(%d+)-(%d+)$')
    local known_ms, known_seq = string.match(known, '^(%d+)-(%d+)$')
    newer = not known_ms or above(ms, known_ms) or (ms == known_ms and above(seq, known_seq))
  end
  if newer then
    local reply = redis.pcall('HSET', stats, 'last_delivered', last)
    if type(reply) == 'table' and problem == '' then problem = reply.err end
  end
end

return {'OK', acked, problem, missing, refused}
