-- The newest id of each stream, for watching where the server pushes nothing.
--
-- KEYS: ...
-- ARGV: none
-- Returns: {id or '' for each key in order}; a key that is no stream has ''
-- Atomic because: it need not be; it is a script because XINFO STREAM alone would send whole events every time.

local result = {}
for index = 1, #KEYS do
  local id = ''
  local info = redis.pcall('XINFO', 'STREAM', KEYS[index])
  if not info.err then
    for at = 1, #info, 2 do
      if info[at] == 'last-generated-id' then id = info[at + 1] end
    end
  end
  result[index] = id
end
return result
