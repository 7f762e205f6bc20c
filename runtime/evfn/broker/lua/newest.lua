-- The id of each stream's newest entry: who remembers it sees whether anything was added since.
--
-- KEYS: ...
-- ARGV: none
-- Returns: {id or '' for each key in order}; a key that is no stream, or an empty one, has ''
-- Atomic because: it need not be; it is a script because XREVRANGE alone would send whole events every time.

local result = {}
for index = 1, #KEYS do
  local entries = redis.pcall('XREVRANGE', KEYS[index], '+', '-', 'COUNT', 1)
  result[index] = entries[1] and entries[1][1] or ''
end
return result
