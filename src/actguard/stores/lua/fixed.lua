-- Windows that start at whole multiples of the period. A string: "start calls" of the current one.

local fixed = {}
algorithms.fixed = fixed

local function window(key, period)
  local start = math.floor(now / period) * period
  local begun, calls = string.match(call('GET', key) or '', '^(%d+) (%d+)$')
  if begun and tonumber(begun) == start then
    return start, tonumber(calls)
  end
  return start, 0
end

function fixed.take(key, limit, cost)
  local max, period = limit[2], limit[3]
  local start, calls = window(key, period)
  local over = start + period - now
  if calls + cost > max then
    return nil, max - calls, over
  end
  call('SET', key, digits(start) .. ' ' .. digits(calls + cost))
  forget_after(key, over)
  return max - calls - cost, digits(start), function()
    call('SET', key, digits(start) .. ' ' .. digits(calls))
    forget_after(key, over)
  end
end

function fixed.give(key, limit, cost, token)
  local start, calls = window(key, limit[3])
  if calls == 0 or start ~= tonumber(token) then
    return false
  end
  call('SET', key, digits(start) .. ' ' .. digits(math.max(calls - cost, 0)))
  forget_after(key, start + limit[3] - now)
  return true
end
