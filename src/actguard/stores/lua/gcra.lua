-- A burst at once, then one call every so often. A string: the moment at which the bucket is empty again.

local gcra = {}
algorithms.gcra = gcra

function gcra.take(key, limit, cost)
  local max, period, burst = limit[2], limit[3], limit[4]
  local interval = period / max
  local room = interval * burst
  local before = call('GET', key)
  local empty = math.max(now, tonumber(before or 0))
  if empty > now + room * (1 + 1e-6) then -- the server's clock was put back
    empty = now + room
    before = string.format('%.17g', empty)
    call('SET', key, before)
    forget_after(key, room)
  end
  local after = empty + interval * cost
  if after - now > room + interval * 1e-6 then
    return nil, math.floor((room - (empty - now)) / interval + 1e-6), after - now - room
  end
  call('SET', key, string.format('%.17g', after))
  forget_after(key, after - now)
  return math.floor((room - (after - now)) / interval + 1e-6), '0', function()
    if before then
      call('SET', key, before)
      forget_after(key, math.max(empty - now, 1))
    else
      call('DEL', key)
    end
  end
end

function gcra.give(key, limit, cost)
  local empty = tonumber(call('GET', key) or 0)
  if empty <= now then
    return false
  end
  empty = empty - limit[3] / limit[2] * cost
  if empty <= now then
    call('DEL', key)
  else
    call('SET', key, string.format('%.17g', empty))
    forget_after(key, empty - now)
  end
  return true
end
