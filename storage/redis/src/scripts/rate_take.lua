-- Takes out of a bucket, which is kept as the moment at which it will be full.
-- KEYS: bucket. ARGV: cost, limit, milliseconds in which it fills. Answers with the microseconds
-- after which the same would fit, 0 if it did.

expect(1, 3)
local cost, limit, window = number(ARGV[1]), number(ARGV[2]), number(ARGV[3]) * 1000
if limit == 0 or cost > limit or window == 0 then
    refuse('no bucket: cost ' .. cost .. ' of ' .. limit .. ' in ' .. ARGV[3])
end
local now = now_us()
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0)
if not full_at then
    refuse('not a bucket')
end
full_at = math.max(full_at, now) + math.floor(cost * window / limit)
if full_at > now + window then
    return digits(full_at - now - window)
end
if full_at > now then
    redis.call('SET', KEYS[1], digits(full_at), 'PX', math.ceil((full_at - now) / 1000))
end
return '0'
