-- Forgets what was begun under a claim, if the claim holds.
-- KEYS: key. ARGV: claim. Answers 1, or 0 if it does not hold.

expect(1, 1)
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then
    return 0
end
return redis.call('DEL', KEYS[1])
