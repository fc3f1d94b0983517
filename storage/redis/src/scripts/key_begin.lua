-- Begins what an idempotency key names, unless somebody has.
-- KEYS: key. ARGV: fingerprint, claim, milliseconds of the lease. Answers `new`, `running`,
-- `mismatch`, or `done` and the result.

expect(1, 3)
local lease = natural(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'fingerprint', 'result')
if not found[1] then
    redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'claim', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], lease)
    return { 'new' }
end
if found[1] ~= ARGV[1] then
    return { 'mismatch' }
end
if found[2] then
    return { 'done', found[2] }
end
return { 'running' }
