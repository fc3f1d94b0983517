-- Puts a region's route and tells of it.
-- KEYS: route, version of the partition. ARGV: channel, region, relay set, edges, milliseconds to
-- keep it, PUBLISH or SPUBLISH, where to publish. Answers with the route's version.

expect(2, 7)
local keep, verb = number(ARGV[5]), publishing(ARGV[6])
local route = natural(ARGV[3]) .. ' ' .. natural(ARGV[4]) .. ' ' .. digits(now_ms() + keep)
local v = next_version(redis.call('HGET', KEYS[1], 'v'))
local pv = next_version(redis.call('GET', KEYS[2]))
redis.call('HSET', KEYS[1], 'v', v, 'r:' .. ARGV[2], route)
if redis.call('PTTL', KEYS[1]) < keep then
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
redis.call('SET', KEYS[2], pv)
redis.call(verb, ARGV[7], ARGV[1] .. ' ' .. v .. ' ' .. pv)
return v
