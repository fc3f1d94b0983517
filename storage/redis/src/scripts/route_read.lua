-- Reads a channel's routes that have not ended.
-- KEYS: route. Answers with its version, then name and incarnation of each node.

expect(1, 0)
local fields = redis.call('HGETALL', KEYS[1])
local now = now_ms()
local answer = { '0' }
for at = 1, #fields, 2 do
    local field, value = fields[at], fields[at + 1]
    if field == 'v' then
        answer[1] = value
    else
        local incarnation, ends_at = string.match(value, '^(%d+) (%d+)$')
        if not incarnation then
            refuse('not a route: ' .. value)
        end
        if tonumber(ends_at) > now then
            answer[#answer + 1] = string.sub(field, 3)
            answer[#answer + 1] = incarnation
        end
    end
end
return answer
