-- All steps, or none: {"A", receipt...}, or {"R", index, refusal}.

local undo, answer = {}, {'A'}
for index, step in ipairs(asked) do
  local back, said = takes[step[1]](step)
  if back then
    undo[#undo + 1] = back
  elseif not step[3] then
    for taken = #undo, 1, -1 do
      undo[taken]()
    end
    return {'R', index - 1, said}
  end
  answer[index + 1] = said
end
return answer
