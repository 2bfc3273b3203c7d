-- The ground the guards stand on: what was asked, what time it is, how a key is made to go by itself. A script is this,
-- the parts that a request needs (each in a block of its own), and an operation: admit.lua, finish.lua, ...
--
--   KEYS     every key that is touched; a request names them by their index
--   ARGV[1]     the request, as JSON
--   ARGV[2]     a fixed time in microseconds, for tests, or "": the server's own
--   ARGV[3...]  texts that are kept as they are
--
--   takes       by kind: take one step -> how to undo it, receipt; or nil, refusal. Texts that begin with a letter.
--   reports     by kind: carry out one report -> whether it had an effect
--   algorithms  by name: what rate.lua leans on
--
-- All times are whole microseconds: they stay below 2^53, so a number holds them exactly; as text they need `digits`.

local takes, reports, looks, algorithms = {}, {}, {}, {}
local call = redis.call
local asked = cjson.decode(ARGV[1])
local fixed_time = ARGV[2] ~= ''
local now
if fixed_time then
  now = tonumber(ARGV[2])
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function digits(number)
  return string.format('%.0f', number)
end

-- The server gives the memory back by itself, whether or not anybody asks again. A fixed time says nothing about when.
local function forget_after(key, microseconds)
  if fixed_time then
    microseconds = microseconds + 3600000000
  end
  call('PEXPIRE', key, math.ceil(microseconds / 1000) + 1)
end
