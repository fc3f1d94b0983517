-- Reads the deltas behind a position, if none of them is gone.
-- KEYS: stream. ARGV: position, how many at most. Answers `deltas` and pairs of id and payload, or
-- `trimmed` and the newest id.

expect(1, 2)
local after, limit = ARGV[1], natural(ARGV[2])
if not string.match(after, '^%d+%-%d+$') then
    refuse('not a position: ' .. after)
end
local is_whole
if after == '0-0' then
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    is_whole = not oldest or oldest[2][2] == '1'
else
    is_whole = #redis.call('XRANGE', KEYS[1], after, after) == 1
end
if not is_whole then
    local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    return { 'trimmed', newest and newest[1] or '0-0' }
end
local answer = { 'deltas' }
if limit ~= '0' then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', limit)) do
        answer[#answer + 1] = entry[1]
        answer[#answer + 1] = entry[2][4]
    end
end
return answer
