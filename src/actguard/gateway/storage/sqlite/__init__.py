"""SQLite: one process, one file, nothing to install."""
