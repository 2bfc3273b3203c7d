
-- Sums of events by the hour (of users: by the day), added in the transaction that stores the events.
CREATE TABLE event_rollups (
    workspace_id INTEGER NOT NULL,
    dim TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    event TEXT NOT NULL,
    key TEXT NOT NULL,
    n INTEGER NOT NULL,
    usd_micros INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, dim, bucket, event, key)
) WITHOUT ROWID;

-- Sums of what the ledger has charged, of hours that are over. The ledger never changes, so neither do these.
CREATE TABLE charge_rollups (
    workspace_id INTEGER NOT NULL,
    dim TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    charges INTEGER NOT NULL,
    usd_micros INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    overrun_micros INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, dim, bucket, key)
) WITHOUT ROWID;

-- Up to when the ledger is in charge_rollups.
CREATE TABLE rolled_up (
    workspace_id INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
);
