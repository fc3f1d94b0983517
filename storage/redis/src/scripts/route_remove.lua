-- Removes a node's route and tells of it. The version stays until the hash ends.
-- KEYS: route, version of the partition. ARGV: channel, node, PUBLISH or SPUBLISH, where to
-- publish. Answers with the route's version, or nil if there was no such route.

expect(2, 4)
local verb = publishing(ARGV[3])
if redis.call('HEXISTS', KEYS[1], 'r:' .. ARGV[2]) == 0 then
    return nil
end
local v = next_version(redis.call('HGET', KEYS[1], 'v'))
local pv = next_version(redis.call('GET', KEYS[2]))
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[2])
redis.call('HSET', KEYS[1], 'v', v)
redis.call('SET', KEYS[2], pv)
redis.call(verb, ARGV[4], ARGV[1] .. ' ' .. v .. ' ' .. pv)
return v
