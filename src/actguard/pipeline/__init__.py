"""How guards become one wrapper around a function: what `tools` and `custody` are plugged into."""
