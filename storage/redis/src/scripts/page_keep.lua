-- Keeps a page of a channel's log; of more than so many the lowest go.
-- KEYS: pages of the channel. ARGV: epoch, number, page, how many, milliseconds to keep them.

expect(1, 5)
local field = natural(ARGV[1]) .. ':' .. natural(ARGV[2])
local most, keep = number(ARGV[4]), natural(ARGV[5])
if most < 1 then
    refuse('no room for a page')
end
redis.call('HSET', KEYS[1], field, ARGV[3])
redis.call('PEXPIRE', KEYS[1], keep)

local function parts(name)
    return string.match(name, '^(%d+):(%d+)$')
end

local function is_lower(one, other)
    local epoch, at = parts(one)
    local other_epoch, other_at = parts(other)
    if epoch ~= other_epoch then
        return is_less(epoch, other_epoch)
    end
    return is_less(at, other_at)
end

local left = redis.call('HLEN', KEYS[1])
while left > most do
    local lowest
    for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
        if not lowest or is_lower(name, lowest) then
            lowest = name
        end
    end
    redis.call('HDEL', KEYS[1], lowest)
    left = left - 1
end
return left
