"""Where the ledger is kept: SQLite for one process, Postgres for several, behind one `Store`."""
