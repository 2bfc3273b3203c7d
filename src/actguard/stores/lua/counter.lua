-- Uses of something, up to a limit. Hash: `used`, `refused` (how often it was asked in vain), and when it `ends`.

local function count(key)
  local held = call('HMGET', key, 'used', 'refused', 'ends')
  if not held[3] or tonumber(held[3]) <= now then
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
