-- Uses of something, up to a limit. Hash: `used`, `refused` (how often it was asked in vain), when it `ends`, and, where
-- that is compared, how the last use came out: its `mark`.

local function count(key)
  local held = call('HMGET', key, 'used', 'refused', 'ends')
  if not held[3] then
    return 0, 0
  elseif tonumber(held[3]) <= now then
    call('HDEL', key, 'mark')
    return 0, 0
  end
  return tonumber(held[1]), tonumber(held[2])
end

-- step: key, observe, limit, ttl
function takes.c(step)
  local key, limit, ttl = KEYS[step[2]], step[4], step[5]
  local used, refused = count(key)
  local fits = used < limit
  local after, vain = fits and used + 1 or used, fits and refused or refused + 1
  call('HSET', key, 'used', after, 'refused', vain, 'ends', digits(now + ttl))
  forget_after(key, ttl)
  if not fits then
    return nil, string.format('X %d %d', used, vain)
  end
  return function()
    call('HSET', key, 'used', used)
  end, string.format('C %d', used + 1)
end

function reports.cg(report)
  local key = KEYS[report[2]]
  local used = count(key)
  if used == 0 then
    return false
  end
  call('HSET', key, 'used', used - 1)
  return true
end

-- report: key, mark
function reports.cs(report)
  local key, mark = KEYS[report[2]], report[3]
  local used = count(key)
  local before = used > 0 and call('HGET', key, 'mark')
  if used > 0 then
    call('HSET', key, 'mark', mark)
  end
  if not before or before == mark then
    return false
  end
  call('HSET', key, 'used', 1, 'refused', 0)
  return true
end
