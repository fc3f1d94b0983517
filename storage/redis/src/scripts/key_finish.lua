-- Keeps the result of what was begun under a claim, if the claim holds.
-- KEYS: key. ARGV: claim, result, milliseconds to keep it. Answers 1, or 0 if it does not hold.

expect(1, 3)
local keep = natural(ARGV[3])
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then
    return 0
end
redis.call('HDEL', KEYS[1], 'claim')
redis.call('HSET', KEYS[1], 'result', ARGV[2])
redis.call('PEXPIRE', KEYS[1], keep)
return 1
