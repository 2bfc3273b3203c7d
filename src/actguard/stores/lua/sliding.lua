-- In no window of a period are there more calls than the limit. The same rules as stores/rate.py.
--
-- A list: the calls that count, then one element per entry, oldest first: the moment of one call, or "first last calls"
-- of some that age together.

local sliding = {}
algorithms.sliding = sliding

local function entry(text)
  local moment = tonumber(text)
  if moment then
    return moment, moment, 1
  end
  local first, last, calls = string.match(text, '^(%d+) (%d+) (%d+)$')
  return tonumber(first), tonumber(last), tonumber(calls)
end

local function written(first, last, calls)
  if calls == 1 and first == last then
    return digits(first)
  end
  return digits(first) .. ' ' .. digits(last) .. ' ' .. digits(calls)
end

-- What counts now: calls, the youngest entry, and the moment to write. Entries that have aged out are removed.
local function aged(key, period)
  local total = tonumber(call('LINDEX', key, 0) or 0)
  if total == 0 then
    return 0, nil, now
  end
  local youngest = call('LINDEX', key, -1)
  local _, latest = entry(youngest)
  if latest - now > period then
    -- The server's clock was put back by more than a period: its calls are taken to be of now.
    youngest = written(now, now, total)
    call('DEL', key)
    call('RPUSH', key, total, youngest)
    return total, youngest, now
  end
  local gone = 0
  while total > 0 do
    local _, last, calls = entry(call('LINDEX', key, gone + 1))
    if last + period > now then
      break
    end
    total = total - calls
    gone = gone + 1
  end
  if total == 0 then
    call('DEL', key)
    return 0, nil, now
  end
  if gone > 0 then
    call('LTRIM', key, gone, -1)
    call('LSET', key, 0, total)
  end
  return total, youngest, math.max(now, latest + 1) -- no two calls at one moment: it is what names them
end

function sliding.take(key, limit, cost)
  local max, period = limit[2], limit[3]
  local total, youngest, at = aged(key, period)
  if total + cost > max then
    local wait, index, left = period, 0, total
    while left > 0 and left + cost > max do
      index = index + 1
      local _, last, calls = entry(call('LINDEX', key, index))
      left = left - calls
      wait = last + period - now
    end
    return nil, max - total, wait
  end
  local undo
  local first, _, calls
  if youngest then
    first, _, calls = entry(youngest)
  end
  if youngest and max > 1024 and at - first < period / 1024 then
    call('LSET', key, -1, written(first, at, calls + cost))
    undo = function()
      call('LSET', key, -1, youngest)
      call('LSET', key, 0, total)
    end
  elseif youngest then
    call('RPUSH', key, written(at, at, cost))
    undo = function()
      call('RPOP', key)
      call('LSET', key, 0, total)
    end
  else
    call('RPUSH', key, 0, written(at, at, cost))
    undo = function()
      call('DEL', key)
    end
  end
  call('LSET', key, 0, total + cost)
  forget_after(key, at - now + period)
  return max - total - cost, digits(at), undo
end

function sliding.give(key, limit, cost, token)
  local total = aged(key, limit[3])
  local at = tonumber(token)
  for index = total > 0 and call('LLEN', key) - 1 or 0, 1, -1 do
    local first, last, calls = entry(call('LINDEX', key, index))
    if last < at then
      return false
    elseif first <= at then
      if calls < cost then
        return false
      elseif total == cost then
        call('DEL', key)
      elseif calls > cost then
        call('LSET', key, index, written(first, last, calls - cost))
        call('LSET', key, 0, total - cost)
      else
        call('LSET', key, index, '')
        call('LREM', key, -1, '')
        call('LSET', key, 0, total - cost)
      end
      return true
    end
  end
  return false
end
