-- Rates: a step takes from all of its limits, or from none. Each limit has a key of its own.
--
-- An algorithm's `take` returns what remains, what names the call there (a text), and how to undo it;
-- or nil, what remains, and how long to wait.


-- step: index of the first key, cost, limits
function takes.r(step)
  local first, cost, limits = step[2], step[4], step[5]
  local undone, names, least = {}, {}, nil
  for index, limit in ipairs(limits) do
    local remaining, named, undo = algorithms[limit[1]].take(KEYS[first + index - 1], limit, cost)
    if not remaining then
      for back = #undone, 1, -1 do
        undone[back]()
      end
      return nil, string.format('O %d %.0f %.0f', index - 1, math.max(named, 0), math.max(undo, 1))
    end
    undone[index], names[index] = undo, named
    least = math.min(least or remaining, remaining)
  end
  return function()
    for back = #undone, 1, -1 do
      undone[back]()
    end
  end, string.format('T %.0f %s', least, table.concat(names, ','))
end

function reports.rg(report)
  local any = false
  local names = string.gmatch(report[4], '[^,]+')
  for index, limit in ipairs(report[5]) do
    any = algorithms[limit[1]].give(KEYS[report[2] + index - 1], limit, report[3], names()) or any
  end
  return any
end
