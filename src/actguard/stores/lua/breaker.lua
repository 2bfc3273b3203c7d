-- One circuit; the same machine as stores/breaker.py. A closed circuit that nothing happened to has no key.
--
-- A hash: state, generation, fails (in a row), opened and lasts (of an open one), opens (in a row, from half-open),
-- successes (of probes), buckets ("begin calls failures;..."), and `probe:OWNER`, the end of his lease.

local BUCKETS = 16

local function circuit(key)
  local held = {state = 'closed', generation = 0, fails = 0, opens = 0, successes = 0, probes = {}, exists = false}
  local flat = call('HGETALL', key)
  for index = 1, #flat, 2 do
    local owner = string.match(flat[index], '^probe:(.*)$')
    if owner then
      held.probes[owner] = tonumber(flat[index + 1])
    else
      held[flat[index]] = tonumber(flat[index + 1]) or flat[index + 1]
    end
    held.exists = true
  end
  if held.state == 'open' then
    if held.opened > now then
      held.opened = now -- the server's clock was put back
      call('HSET', key, 'opened', digits(now))
    end
    held.left = held.opened + held.lasts - now
  end
  return held
end

local function enter(key, held, state, rules)
  held.state, held.generation, held.fails, held.successes, held.probes = state, held.generation + 1, 0, 0, {}
  call('DEL', key)
  call('HSET', key, 'state', state, 'generation', held.generation, 'opens', held.opens)
  if state ~= 'forced_open' and state ~= 'disabled' and state ~= 'observe' then -- those last until somebody ends them
    forget_after(key, rules.idle_s)
  end
end

local function open(key, held, rules, open_for)
  local lasts = open_for or rules.reset_timeout * rules.backoff ^ math.min(held.opens, 64)
  lasts = math.min(lasts, rules.max_open_s)
  enter(key, held, 'open', rules)
  call('HSET', key, 'opened', digits(now), 'lasts', digits(lasts))
  forget_after(key, math.max(rules.idle_s, lasts))
end

local function live(held)
  local count, first = 0, nil
  for _, ends in pairs(held.probes) do
    if ends > now then
      count, first = count + 1, math.min(first or ends, ends)
    end
  end
  return count, first
end

local function refused(state, left)
  return nil, 'S ' .. state .. ' ' .. (left and digits(math.max(left, 1)) or '-')
end

-- step: key, observe, owner, rules
function takes.b(step)
  local key, owner, rules = KEYS[step[2]], step[4], step[5]
  local held = circuit(key)
  if held.state == 'open' then
    if held.left > 0 then
      return refused('open', held.left)
    end
    enter(key, held, 'half_open', rules)
  end
  if held.state == 'half_open' then
    for prober, ends in pairs(held.probes) do
      if ends <= now then
        call('HDEL', key, 'probe:' .. prober)
      end
    end
    local count, first = live(held)
    if count >= rules.half_open_probes then
      return refused('half_open', first - now)
    end
    call('HSET', key, 'probe:' .. owner, digits(now + rules.probe_lease_s))
    forget_after(key, math.max(rules.idle_s, rules.probe_lease_s))
    return function()
      call('HDEL', key, 'probe:' .. owner)
    end, string.format('P %d 1 0', held.generation)
  elseif held.state == 'forced_open' then
    return refused('forced_open')
  end
  local quiet = held.state == 'disabled' or (held.fails == 0 and not rules.failure_rate)
  return function() end, string.format('P %d 0 %d', held.generation, quiet and 1 or 0)
end

local function probed(key, held, owner, rules, outcome, open_for)
  local ends = held.probes[owner]
  call('HDEL', key, 'probe:' .. owner)
  if not ends or ends <= now then
    return false
  end
  forget_after(key, rules.idle_s)
  if outcome == 'failure' then
    held.opens = held.opens + 1
    open(key, held, rules, open_for)
  elseif outcome == 'success' then
    if held.successes + 1 >= rules.successes_to_close then
      held.opens = 0
      enter(key, held, 'closed', rules)
    else
      call('HINCRBY', key, 'successes', 1)
    end
  end
  return true
end

-- Count the call in the window, in parts that are forgotten one by one. Whether it holds too many failures now.
local function share(key, held, rules, outcome)
  local kept, calls, failures = {}, 0, 0
  for begun, counted, failed in string.gmatch(held.buckets or '', '(%d+) (%d+) (%d+)') do
    if tonumber(begun) + rules.window > now then
      kept[#kept + 1] = {tonumber(begun), tonumber(counted), tonumber(failed)}
    end
  end
  if #kept == 0 or now - kept[#kept][1] >= rules.window / BUCKETS then
    kept[#kept + 1] = {now, 0, 0}
  end
  kept[#kept][2] = kept[#kept][2] + 1
  kept[#kept][3] = kept[#kept][3] + (outcome == 'failure' and 1 or 0)
  local texts = {}
  for index, bucket in ipairs(kept) do
    calls, failures = calls + bucket[2], failures + bucket[3]
    texts[index] = digits(bucket[1]) .. ' ' .. digits(bucket[2]) .. ' ' .. digits(bucket[3])
  end
  call('HSET', key, 'buckets', table.concat(texts, ';'))
  return calls >= rules.min_calls and failures >= rules.failure_rate * calls
end

-- report: key, owner, rules, generation or -1 (any), outcome, open_for or false
function reports.br(report)
  local key, owner, rules, outcome, open_for = KEYS[report[2]], report[3], report[4], report[6], report[7]
  local held = circuit(key)
  if report[5] ~= held.generation and report[5] ~= -1 then
    return false
  elseif held.state == 'half_open' then
    return probed(key, held, owner, rules, outcome, open_for)
  elseif (held.state ~= 'closed' and held.state ~= 'observe') or outcome == 'neutral' then
    return false
  elseif not held.exists and outcome == 'success' and not rules.failure_rate then
    return false
  end
  local failed = outcome == 'failure'
  local fails = failed and held.fails + 1 or 0
  call('HSET', key, 'state', held.state, 'generation', held.generation, 'fails', fails)
  if held.state == 'closed' then
    forget_after(key, rules.idle_s)
  end
  local many
  if rules.failure_rate then
    many = share(key, held, rules, outcome) and failed
  else
    many = fails >= rules.max_fails
  end
  if (many or (failed and open_for)) and held.state == 'closed' then
    open(key, held, rules, open_for)
  end
  return true
end

-- report: key, rules, state
function reports.bf(report)
  local key, rules, state = KEYS[report[2]], report[3], report[4]
  local held = circuit(key)
  held.opens = 0
  if state == 'open' then
    open(key, held, rules)
  else
    enter(key, held, state, rules)
  end
  return true
end

-- asked: rules -> state, fails, generation, wait, probes
function looks.b(asked_for)
  local rules = asked_for[2]
  local held = circuit(KEYS[1])
  local state, wait, count, first = held.state, '-', 0, nil
  if state == 'open' then
    state = held.left > 0 and 'open' or 'half_open'
    wait = digits(math.max(held.left, 0))
  elseif state == 'half_open' then
    count, first = live(held)
    wait = count < rules.half_open_probes and '0' or digits(first - now)
  end
  return {state, digits(held.fails), digits(held.generation), wait, digits(count)}
end
