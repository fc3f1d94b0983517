-- Puts a node's route and tells of it.
-- KEYS: route, version of the partition. ARGV: channel, node, incarnation, milliseconds to keep it,
-- PUBLISH or SPUBLISH, where to publish. Answers with the route's version.

expect(2, 6)
local keep, verb = number(ARGV[4]), publishing(ARGV[5])
local route = natural(ARGV[3]) .. ' ' .. digits(now_ms() + keep)
local v = next_version(redis.call('HGET', KEYS[1], 'v'))
local pv = next_version(redis.call('GET', KEYS[2]))
redis.call('HSET', KEYS[1], 'v', v, 'r:' .. ARGV[2], route)
if redis.call('PTTL', KEYS[1]) < keep then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('SET', KEYS[2], pv)
redis.call(verb, ARGV[6], ARGV[1] .. ' ' .. v .. ' ' .. pv)
return v
