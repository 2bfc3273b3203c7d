-- What a session knows; the same machine as stores/fact_machine.py. KEYS: the session, and when to look at what of it.
--
-- A hash, packed: a fact ("f" and its name) is a list of proofs {trust, source, records, minted, expires, uses, name,
-- told}; a sum ("s" and its name) is {period, total, parts}, a part {first moment, last moment, amount}. A sorted set
-- has the moment at which each of them may be over: what is over goes with the next request, and the rest by itself.

local MOST_PROOFS, UNLIMITED, PARTS = 64, -1, 1024
local session, due = KEYS[1], KEYS[2]
local kept, changed, operations = {}, {}, {}

local function load(field)
  if kept[field] == nil then
    local packed = call('HGET', session, field)
    kept[field] = packed and cmsgpack.unpack(packed) or false
  end
  return kept[field]
end

local function change(field, value)
  kept[field], changed[field] = value, true
end

local function over_at(field, value)
  local latest = 0
  if string.sub(field, 1, 1) == 's' then
    return value[3][#value[3]][2] + value[1]
  end
  for _, proof in ipairs(value) do
    latest = math.max(latest, proof.expires)
  end
  return latest
end

-- Write what changed, drop what is over, and let the session go by itself when all of it is.
local function save()
  for field in pairs(changed) do
    local value = kept[field]
    if value and #value > 0 and (string.sub(field, 1, 1) == 'f' or #value[3] > 0) then
      call('HSET', session, field, cmsgpack.pack(value))
      call('ZADD', due, digits(over_at(field, value)), field)
    else
      call('HDEL', session, field)
      call('ZREM', due, field)
    end
  end
  for _, field in ipairs(call('ZRANGEBYSCORE', due, '-inf', digits(now), 'LIMIT', 0, 100)) do
    call('HDEL', session, field)
    call('ZREM', due, field)
  end
  local last = call('ZRANGE', due, -1, -1, 'WITHSCORES')
  if last[2] then
    forget_after(session, tonumber(last[2]) - now)
    forget_after(due, tonumber(last[2]) - now)
  end
end

-- asked: facts {field, ttl, trust, source, records, uses, name, name in receipts}
function operations.put()
  for _, fact in ipairs(asked[2]) do
    local proofs = load(fact[1]) or {}
    local same, first
    for index, proof in ipairs(proofs) do
      if proof.name == fact[7] then
        same = proof
      end
      if not first or proof.expires < proofs[first].expires then
        first = index
      end
    end
    if not same then
      if #proofs >= MOST_PROOFS then
        table.remove(proofs, first)
      end
      same = {trust = fact[3], source = fact[4], records = fact[5], expires = 0, name = fact[7], told = fact[8]}
      proofs[#proofs + 1] = same
    end
    same.minted, same.expires, same.uses = now, math.max(same.expires, now + fact[2]), fact[6]
    change(fact[1], proofs)
  end
  save()
  return 1
end

local function filter(proofs, meets)
  local found = {}
  for _, proof in ipairs(proofs) do
    if meets(proof) then
      found[#found + 1] = proof
    end
  end
  return found
end

-- need: field, min_trust, max_age or false, sources, consume, group or false, absent -> proofs, or why not
local function meet(need)
  local found = filter(load(need[1]) or {}, function(proof) return proof.expires > now end)
  if need[7] then
    return {}, #filter(found, function(proof) return proof.uses ~= 0 end) > 0 and 'present' or nil
  elseif #found == 0 then
    return {}, 'unknown'
  end
  if #need[4] > 0 then
    found = filter(found, function(proof)
      for _, source in ipairs(need[4]) do
        if proof.source == source then
          return true
        end
      end
      return false
    end)
    if #found == 0 then
      return {}, 'source'
    end
  end
  found = filter(found, function(proof) return proof.trust >= need[2] end)
  if #found == 0 then
    return {}, 'trust'
  end
  if need[3] then
    found = filter(found, function(proof) return now - proof.minted <= need[3] end)
    if #found == 0 then
      return {}, 'age'
    end
  end
  found = filter(found, function(proof) return proof.uses ~= 0 end)
  if #found == 0 then
    return {}, 'used'
  end
  return found, nil
end

local function same_record(needs, meeting, refused)
  local shared = {}
  for index, need in ipairs(needs) do
    if need[6] then
      local records = {}
      for _, proof in ipairs(meeting[index]) do
        for _, record in ipairs(proof.records) do
          records[record] = (not shared[need[6]] or shared[need[6]][record]) and true or nil
        end
      end
      shared[need[6]] = records
    end
  end
  for index, need in ipairs(needs) do
    if need[6] and not refused[index] and not next(shared[need[6]]) then
      refused[index] = 'record'
    end
  end
end

local function spent(field)
  local sum = load(field)
  if not sum then
    return 0
  end
  while sum[3][1] and sum[3][1][2] + sum[1] <= now do
    sum[2] = sum[2] - sum[3][1][3]
    table.remove(sum[3], 1)
  end
  return sum[2]
end

local function spend(field, amount, period)
  local sum = load(field) or {period, 0, {}}
  local last = sum[3][#sum[3]]
  if last and now - last[1] < sum[1] / PARTS then
    last[2], last[3] = now, last[3] + amount
  else
    sum[3][#sum[3] + 1] = {now, now, amount}
  end
  sum[2] = sum[2] + amount
  change(field, sum)
end

local function charge(needs, meeting)
  local charges, charged, consumed = {}, {}, {}
  local function take(need, proof, uses, used_up)
    charged[need[1] .. ' ' .. proof.name] = true
    charges[#charges + 1] = {need.index, proof.told, digits(uses), used_up and '1' or '0'}
    proof.uses = used_up and 0 or proof.uses - 1
    change(need[1], load(need[1]))
  end
  for _, need in ipairs(needs) do
    if need[5] and not need[7] and not consumed[need[1]] then
      consumed[need[1]] = true
      for _, proof in ipairs(load(need[1])) do
        if proof.uses ~= 0 and proof.expires > now then
          take(need, proof, proof.uses, true)
        end
      end
    end
  end
  for index, need in ipairs(needs) do
    local unlimited = #filter(meeting[index], function(proof) return proof.uses == UNLIMITED end) > 0
    for _, proof in ipairs(unlimited and {} or meeting[index]) do
      if proof.uses > 0 and not charged[need[1] .. ' ' .. proof.name] then
        take(need, proof, 1, false)
      end
    end
  end
  return charges
end

-- asked: needs, spends {field, amount, period, total}, commit -> why not, sums before, charges if it was charged
function operations.check()
  local needs, spends = asked[2], asked[3]
  local meeting, refused, answer, before, adding = {}, {}, {}, {}, {}
  for index, need in ipairs(needs) do
    need.index = index - 1
    meeting[index], refused[index] = meet(need)
  end
  same_record(needs, meeting, refused)
  local granted = asked[4]
  for index, one in ipairs(spends) do
    local sum = spent(one[1])
    before[index] = digits(sum)
    adding[one[1]] = (adding[one[1]] or 0) + one[2]
    granted = granted and sum + adding[one[1]] <= one[4]
  end
  for index in ipairs(needs) do
    answer[index] = refused[index] or ''
    granted = granted and not refused[index]
  end
  if not granted then
    return {answer, before}
  end
  local charges = charge(needs, meeting)
  for _, one in ipairs(spends) do
    spend(one[1], one[2], one[3])
  end
  save()
  return {answer, before, charges}
end

-- asked: charges {field, name, uses, used_up}, spends {field, amount}
function operations.give_back()
  for _, one in ipairs(asked[2]) do
    for _, proof in ipairs(load(one[1]) or {}) do
      if proof.told == one[2] and proof.uses ~= UNLIMITED then
        proof.uses = one[4] and one[3] or proof.uses + one[3]
        change(one[1], load(one[1]))
      end
    end
  end
  for _, one in ipairs(asked[3]) do
    local sum = load(one[1])
    if sum then
      local amount = math.min(one[2], sum[2])
      sum[2] = sum[2] - amount
      for index = #sum[3], 1, -1 do
        local taken = math.min(amount, sum[3][index][3])
        sum[3][index][3] = sum[3][index][3] - taken
        amount = amount - taken
      end
      change(one[1], sum)
    end
  end
  save()
  return 1
end

-- asked: what the name begins with, or the whole name
function operations.revoke()
  local count, whole = 0, asked[3]
  for _, field in ipairs(whole and {asked[2]} or call('HKEYS', session)) do
    if string.sub(field, 1, #asked[2]) == asked[2] and load(field) then
      if #filter(load(field), function(proof) return proof.expires > now end) > 0 then
        count = count + 1
      end
      change(field, false)
    end
  end
  save()
  return count
end

-- asked: what names begin with, or nothing -> {name, proof's name, age, left, uses} of every proof that is alive
function operations.list()
  local found = {}
  local flat = call('HGETALL', session)
  for index = 1, #flat, 2 do
    local wanted = string.sub(flat[index], 1, 1) == 'f' and #asked[2] == 0
    for _, begins in ipairs(asked[2]) do
      wanted = wanted or string.sub(flat[index], 1, #begins) == begins
    end
    for _, proof in ipairs(wanted and cmsgpack.unpack(flat[index + 1]) or {}) do
      if proof.expires > now and proof.uses ~= 0 then
        found[#found + 1] =
          {flat[index], proof.name, digits(now - proof.minted), digits(proof.expires - now), digits(proof.uses)}
      end
    end
  end
  return found
end

function operations.finish()
  return call('UNLINK', session, due)
end

return operations[asked[1]]()
