-- Look at what is asked for, changing nothing.

return looks[asked[1]](asked)
