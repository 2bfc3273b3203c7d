
-- Sums of events by the hour (of users: by the day), added in the transaction that stores the events.
CREATE TABLE event_rollups (
    workspace_id BIGINT NOT NULL,
    dim TEXT NOT NULL,
    bucket BIGINT NOT NULL,
    event TEXT NOT NULL,
    key TEXT NOT NULL,
    n BIGINT NOT NULL,
    usd_micros BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, dim, bucket, event, key)
);

-- Sums of what the ledger has charged, of hours that are over. The ledger never changes, so neither do these.
CREATE TABLE charge_rollups (
    workspace_id BIGINT NOT NULL,
    dim TEXT NOT NULL,
    bucket BIGINT NOT NULL,
    key TEXT NOT NULL,
    charges BIGINT NOT NULL,
    usd_micros BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    overrun_micros BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, dim, bucket, key)
);

-- Up to when the ledger is in charge_rollups.
CREATE TABLE rolled_up (
    workspace_id BIGINT PRIMARY KEY,
    until BIGINT NOT NULL
);
