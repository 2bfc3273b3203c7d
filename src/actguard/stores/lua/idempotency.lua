-- Records of what was done. Hash: `state` (in_progress, done, unknown), `owner`, `print` (of the arguments, may be
-- absent), `lease` (when it ends), `ttl`, `text` (a result, or why nobody knows).

local LOST = 'the process that ran it did not say how it came out'

-- The record as it reads now: an IN_PROGRESS whose lease is over reads UNKNOWN.
local function record(key)
  local held = call('HMGET', key, 'state', 'owner', 'print', 'lease', 'ttl', 'text', 'ends')
  local state = held[1]
  if not state or tonumber(held[7]) <= now then
    return nil
  end
  if state == 'in_progress' and tonumber(held[4]) <= now then
    return 'unknown', held[2], held[3], 0, LOST
  end
  return state, held[2], held[3], tonumber(held[4]) - now, held[6] or ''
end

local function ends(key, after)
  call('HSET', key, 'ends', digits(now + after))
  forget_after(key, after)
end

-- step: key, observe, owner, ttl, lease, fingerprint or false
function takes.i(step)
  local key, owner, ttl, lease, fingerprint = KEYS[step[2]], step[4], step[5], step[6], step[7]
  local state, holder, known, left, text = record(key)
  if not state then
    -- First what needs memory: a server without any refuses it, unless the script has written before.
    call('HSET', key, 'state', 'in_progress', 'owner', owner, 'lease', digits(now + lease), 'ttl', digits(ttl))
    call('HDEL', key, 'print', 'text')
    if fingerprint then
      call('HSET', key, 'print', fingerprint)
    end
    ends(key, lease + ttl)
    return function()
      call('DEL', key)
    end, 'B'
  elseif fingerprint and known and known ~= fingerprint then
    return nil, 'M'
  elseif state == 'done' then
    return nil, 'D ' .. text
  elseif state == 'unknown' then
    return nil, 'U ' .. text
  end
  return nil, 'I ' .. digits(math.max(left, 1))
end

local function mine(key, owner)
  local state, holder = record(key)
  return state and holder == owner and (state == 'in_progress' or call('HGET', key, 'state') == 'in_progress')
end

-- report: key, owner, ttl, index of the text in ARGV
function reports.id(report)
  local key = KEYS[report[2]]
  if not mine(key, report[3]) then
    return false
  end
  call('HSET', key, 'state', 'done', 'text', ARGV[report[5]])
  ends(key, report[4])
  return true
end

function reports.il(report)
  local key = KEYS[report[2]]
  if not mine(key, report[3]) then
    return false
  end
  call('HSET', key, 'state', 'unknown', 'text', ARGV[report[5]])
  ends(key, report[4])
  return true
end

function reports.ir(report)
  local key = KEYS[report[2]]
  if not mine(key, report[3]) then
    return false
  end
  call('DEL', key)
  return true
end

-- report: key, owner, lease
function reports.ib(report)
  local key = KEYS[report[2]]
  local state, holder = record(key)
  if state ~= 'in_progress' or holder ~= report[3] then
    return false
  end
  call('HSET', key, 'lease', digits(now + report[4]))
  ends(key, report[4] + tonumber(call('HGET', key, 'ttl')))
  return true
end

-- Every key's record, for people: state, owner, fingerprint, text.
function looks.i()
  local found = {}
  for index, key in ipairs(KEYS) do
    local state, holder, known, _, text = record(key)
    found[index] = state and {state, holder, known or false, text} or false
  end
  return found
end

-- report: key, ttl, index of the result in ARGV, or 0: it was never executed
function reports.iv(report)
  local key = KEYS[report[2]]
  if record(key) ~= 'unknown' then
    return false
  end
  if report[4] == 0 then
    call('DEL', key)
  else
    call('HSET', key, 'state', 'done', 'text', ARGV[report[4]])
    ends(key, report[3])
  end
  return true
end
