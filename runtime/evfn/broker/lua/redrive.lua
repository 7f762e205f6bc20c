-- Moves one dead letter back into its trigger's inbox.
--
-- KEYS: dead inbox stats
-- ARGV: id
-- Returns: {'BLOCKED', key, error} with the letter kept; {'GONE'} when there is none (any more); {'FOREIGN'} when the
--       entry holds no record; else {'OK', id in the inbox}
-- Atomic because: a letter must be dead or on its way, never both or neither. XDEL is the first write, which a full
--       server still takes; when the inbox cannot be written the letter is stored again.

local dead, inbox = KEYS[1], KEYS[2]
local id = ARGV[1]

for _, key in ipairs({dead, inbox}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= 'stream' then return {'BLOCKED', key, 'it holds something else'} end
end
local entry = redis.call('XRANGE', dead, id, id)[1]
if not entry then return {'GONE'} end
local fields, record = entry[2], nil
for index = 1, #fields, 2 do
  if fields[index] == 'record' then record = fields[index + 1] end
end
if not record then return {'FOREIGN'} end
if redis.call('XDEL', dead, id) ~= 1 then return {'GONE'} end
local added = redis.pcall('XADD', inbox, '*', 'record', record)
if type(added) == 'table' then
  -- Its own id is spent: streams only take growing ids.
  redis.pcall('XADD', dead, '*', unpack(fields))
  return {'BLOCKED', inbox, added.err}
end
redis.pcall('HINCRBY', KEYS[3], 'redriven', 1)
return {'OK', added}
