-- Puts a session of a user, unless there are too many others.
-- KEYS: the user's sessions. ARGV: session, entry, how many there may be, milliseconds to keep
-- them. Answers 1, or 0 if there are too many.

expect(1, 4)
local most, keep = number(ARGV[3]), natural(ARGV[4])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= most then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], keep)
return 1
