-- Raises a floor and answers with the highest ever said.
-- KEYS: floor. ARGV: floor.

expect(1, 1)
local said = natural(ARGV[1])
local found = redis.call('GET', KEYS[1])
if found and not is_less(natural(found), said) then
    return found
end
redis.call('SET', KEYS[1], said)
return said
