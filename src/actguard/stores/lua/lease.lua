-- Places, each held for a while. Sorted set: owner by the moment at which his lease ends.

-- step: key, observe, owner, limit, lease
function takes.l(step)
  local key, owner, limit, holds = KEYS[step[2]], step[4], step[5], step[6]
  call('ZREMRANGEBYSCORE', key, '-inf', digits(now))
  if call('ZCARD', key) >= limit and not call('ZSCORE', key, owner) then
    local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return nil, 'N ' .. digits(math.max(tonumber(first[2]) - now, 1))
  end
  local before = call('ZSCORE', key, owner)
  call('ZADD', key, digits(now + holds), owner)
  local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
  forget_after(key, tonumber(last[2]) - now)
  return function()
    if before then
      call('ZADD', key, before, owner)
    else
      call('ZREM', key, owner)
    end
  end, 'L'
end

local function held(key, owner)
  local over = call('ZSCORE', key, owner)
  return over and tonumber(over) > now
end

function reports.lg(report)
  local key, owner = KEYS[report[2]], report[3]
  local was = held(key, owner)
  call('ZREM', key, owner)
  return was
end

-- report: key, owner, lease
function reports.lb(report)
  local key, owner = KEYS[report[2]], report[3]
  if not held(key, owner) then
    return false
  end
  call('ZADD', key, digits(now + report[4]), owner)
  local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
  forget_after(key, tonumber(last[2]) - now)
  return true
end
