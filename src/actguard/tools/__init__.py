"""What a tool call may do: how often, how long, how many times over, and against which dependency."""
