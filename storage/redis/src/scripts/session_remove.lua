-- Removes sessions of a user whose entries still begin as they are said to.
-- KEYS: the user's sessions. ARGV: pairs of session and beginning. Answers how many were removed.

if #KEYS ~= 1 or #ARGV == 0 or #ARGV % 2 ~= 0 then
    refuse('takes 1 key and pairs of session and beginning')
end
local removed = 0
for at = 1, #ARGV, 2 do
    local entry = redis.call('HGET', KEYS[1], ARGV[at])
    if entry and string.sub(entry, 1, #ARGV[at + 1]) == ARGV[at + 1] then
        removed = removed + redis.call('HDEL', KEYS[1], ARGV[at])
    end
end
return removed
