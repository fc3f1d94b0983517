-- Before every script. Numbers up to 64 bits stay text, because numbers of Lua are exact up to 53.

local function refuse(what)
    error({ err = 'ERR sterna: ' .. what })
end

local function expect(keys, arguments)
    if #KEYS ~= keys or #ARGV ~= arguments then
        refuse('takes ' .. keys .. ' keys and ' .. arguments .. ' arguments')
    end
end

-- A natural number as text without leading zeros, so that texts compare as numbers do.
local function natural(text)
    if text ~= '0' and not string.match(text, '^[1-9]%d*$') or #text > 20 then
        refuse('not a natural number: ' .. text)
    end
    return text
end

-- A natural number to reckon with.
local function number(text)
    natural(text)
    if #text > 15 then
        refuse('too large: ' .. text)
    end
    return tonumber(text)
end

local function is_less(one, other)
    return #one < #other or (#one == #other and one < other)
end

local function digits(value)
    return string.format('%.0f', value)
end

local function now_us()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function now_ms()
    return math.floor(now_us() / 1000)
end

-- What follows a version. A new one begins with the time, and so lies above any that was lost.
local function next_version(version)
    return version and digits(tonumber(version) + 1) or digits(now_us())
end

local function publishing(verb)
    if verb ~= 'PUBLISH' and verb ~= 'SPUBLISH' then
        refuse('no way to publish: ' .. verb)
    end
    return verb
end
