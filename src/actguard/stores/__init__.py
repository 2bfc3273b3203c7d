"""Where guards keep what they must remember: one protocol of guard-shaped operations, in memory or in Redis."""
