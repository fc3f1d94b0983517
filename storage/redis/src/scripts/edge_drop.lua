-- Ends the lease of an edge's incarnation.
-- KEYS: the edge. ARGV: incarnation. Answers 1, or 0 if it has no lease.

expect(1, 1)
if redis.call('HGET', KEYS[1], 'incarnation') ~= natural(ARGV[1]) then
    return 0
end
return redis.call('DEL', KEYS[1])
