"""What a call costs, and whether it may happen. Knows no SDK and does no I/O."""
