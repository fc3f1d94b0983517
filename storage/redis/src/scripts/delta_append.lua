-- Appends a delta, numbered from 1, so that a reader sees whether the first ones are gone.
-- KEYS: stream. ARGV: payload, how many to keep about. Answers with its id.

expect(1, 2)
local kept = natural(ARGV[2])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local nth = newest and tonumber(newest[2][2]) + 1 or 1
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', kept, '*', 'n', digits(nth), 'p', ARGV[1])
