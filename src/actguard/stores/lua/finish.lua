-- Every report, whatever the others do: 1 or 0 for each.

local answer = {}
for index, report in ipairs(asked) do
  answer[index] = reports[report[1]](report) and 1 or 0
end
return answer
