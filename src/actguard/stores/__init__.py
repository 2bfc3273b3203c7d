"""Where guards keep their state: in this process, or in Redis for many of them."""
