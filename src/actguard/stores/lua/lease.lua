-- Places, each held for a while. Sorted set: owner by the moment at which his lease ends.
--
-- Beside it, who waits for one. Hash: `o:OWNER`, "number end": which turn he has, and until when he has it without asking
-- again; and `last`, the number of the last one who came. All of it goes when the last turn ends.

local function turns(key)
  local waiting, flat = {}, call('HGETALL', key)
  for index = 1, #flat, 2 do
    local owner = string.match(flat[index], '^o:(.*)$')
    if owner then
      local number, ends = string.match(flat[index + 1], '(%d+) (%d+)')
      if tonumber(ends) > now then
        waiting[owner] = {tonumber(number), tonumber(ends)}
      else
        call('HDEL', key, flat[index])
      end
    end
  end
  return waiting
end

-- Who has to be let in before *owner*, when the first lease or turn ends, and when the last turn does.
local function before(waiting, owner)
  local mine, count, first, last = waiting[owner], 0, nil, now
  for other, turn in pairs(waiting) do
    if other ~= owner and (not mine or turn[1] < mine[1]) then
      count = count + 1
    end
    first, last = math.min(first or turn[2], turn[2]), math.max(last, turn[2])
  end
  return count, first, last
end

-- step: key (and behind it the key of the turns), observe, owner, limit, lease, waits or 0
function takes.l(step)
  local key, queue, owner, limit, holds, waits = KEYS[step[2]], KEYS[step[2] + 1], step[4], step[5], step[6], step[7]
  call('ZREMRANGEBYSCORE', key, '-inf', digits(now))
  local held = call('ZSCORE', key, owner)
  if not held then
    local waiting = turns(queue)
    local count, first, last = before(waiting, owner)
    if count >= limit - call('ZCARD', key) then
      local lease = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
      first = math.min(tonumber(lease) or first, first or tonumber(lease))
      if waits > 0 then
        local number = waiting[owner] and waiting[owner][1] or call('HINCRBY', queue, 'last', 1)
        call('HSET', queue, 'o:' .. owner, digits(number) .. ' ' .. digits(now + waits))
        forget_after(queue, math.max(last, now + waits) - now)
      end
      return nil, 'N ' .. digits(math.max(first - now, 1))
    end
    if waiting[owner] then
      call('HDEL', queue, 'o:' .. owner)
    end
  end
  call('ZADD', key, digits(now + holds), owner)
  local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')
  forget_after(key, tonumber(last[2]) - now)
  return function()
    if held then
      call('ZADD', key, held, owner)
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
  call('HDEL', KEYS[report[2] + 1], 'o:' .. owner)
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
