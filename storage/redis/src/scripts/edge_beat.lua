-- Renews the lease of an edge's incarnation.
-- KEYS: the edge. ARGV: incarnation, load, milliseconds. Answers `kept`, `begun`, or the later
-- incarnation that has the lease.

expect(1, 3)
local incarnation, load, lease = natural(ARGV[1]), natural(ARGV[2]), natural(ARGV[3])
local found = redis.call('HGET', KEYS[1], 'incarnation')
if found and is_less(incarnation, found) then
    return found
end
redis.call('HSET', KEYS[1], 'incarnation', incarnation, 'load', load)
redis.call('PEXPIRE', KEYS[1], lease)
return found == incarnation and 'kept' or 'begun'
