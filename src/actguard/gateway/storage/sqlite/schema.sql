CREATE TABLE workspaces (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    time_zone TEXT NOT NULL DEFAULT 'UTC',
    created_at INTEGER NOT NULL
);

-- A secret is never stored: only its SHA-256, which cannot be turned around because the secret is random.
CREATE TABLE keys (
    key_id TEXT PRIMARY KEY,
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    agent TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('agent', 'admin')),
    secret_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE budgets (
    workspace_id INTEGER NOT NULL REFERENCES workspaces (id),
    scope TEXT NOT NULL CHECK (scope IN ('workspace', 'agent', 'user', 'plan', 'balance')),
    scope_key TEXT NOT NULL,
    window_kind TEXT NOT NULL CHECK (window_kind IN ('day', 'month', 'total')),
    usd_limit INTEGER CHECK (usd_limit >= 0),
    token_limit INTEGER CHECK (token_limit >= 0),
    observe INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, scope, scope_key, window_kind)
) WITHOUT ROWID;

-- A window is a row and is never reset. Its amounts equal the sums of the ledger rows of the holds on it.
CREATE TABLE counters (
    id INTEGER PRIMARY KEY,
    workspace_id INTEGER NOT NULL,
    scope TEXT NOT NULL,
    scope_key TEXT NOT NULL,
    window_kind TEXT NOT NULL,
    window_start TEXT NOT NULL,
    usd_held INTEGER NOT NULL DEFAULT 0 CHECK (usd_held >= 0),
    usd_spent INTEGER NOT NULL DEFAULT 0 CHECK (usd_spent >= 0),
    tokens_held INTEGER NOT NULL DEFAULT 0 CHECK (tokens_held >= 0),
    tokens_spent INTEGER NOT NULL DEFAULT 0 CHECK (tokens_spent >= 0),
    UNIQUE (workspace_id, scope, scope_key, window_kind, window_start)
);

-- `counters` and `seqs` are JSON lists of numbers. `keyed` says which idempotency keys are the hold's own.
CREATE TABLE holds (
    workspace_id INTEGER NOT NULL,
    reserve_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    plan_key TEXT NOT NULL,
    state TEXT NOT NULL,
    usd_limit INTEGER,
    token_limit INTEGER,
    usd_held INTEGER NOT NULL,
    tokens_held INTEGER NOT NULL,
    usd_spent INTEGER NOT NULL DEFAULT 0,
    tokens_spent INTEGER NOT NULL DEFAULT 0,
    usd_released INTEGER NOT NULL DEFAULT 0,
    ttl INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    fingerprint TEXT,
    reserve_hash TEXT NOT NULL,
    tariff_version TEXT NOT NULL,
    counters TEXT NOT NULL,
    settle_hash TEXT NOT NULL DEFAULT '',
    keyed INTEGER NOT NULL DEFAULT 0,
    shares INTEGER NOT NULL DEFAULT 1,
    settles INTEGER NOT NULL DEFAULT 0,
    seqs TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (workspace_id, reserve_id),
    CHECK (usd_held >= 0 AND tokens_held >= 0 AND usd_spent >= 0 AND tokens_spent >= 0),
    CHECK (state = 'open' OR (usd_held = 0 AND tokens_held = 0
        AND (state = 'settled' OR state = 'released' OR state = 'expired' OR state = 'settled_late')))
) WITHOUT ROWID;
CREATE INDEX holds_due ON holds (expires_at) WHERE state = 'open';
CREATE UNIQUE INDEX holds_fingerprint ON holds (workspace_id, fingerprint)
    WHERE state = 'open' AND fingerprint IS NOT NULL;

CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY,
    workspace_id INTEGER NOT NULL,
    reserve_id TEXT NOT NULL,
    op TEXT NOT NULL,
    at INTEGER NOT NULL,
    usd_held INTEGER NOT NULL,
    usd_spent INTEGER NOT NULL,
    tokens_held INTEGER NOT NULL,
    tokens_spent INTEGER NOT NULL,
    usd_overrun INTEGER NOT NULL,
    client_usd INTEGER,
    usage TEXT NOT NULL
);
CREATE INDEX ledger_time ON ledger (workspace_id, at);
CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never changed'); END;
CREATE TRIGGER ledger_is_not_deleted BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never deleted'); END;

-- What was said to a request with an Idempotency-Key, so that its repetition is told the same.
CREATE TABLE answers (
    workspace_id INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    hash TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, idempotency_key)
) WITHOUT ROWID;

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

-- Events as their requests brought them: one row a request, of which `body` has those that were new.
CREATE TABLE event_batches (
    number INTEGER PRIMARY KEY,
    workspace_id INTEGER NOT NULL,
    agent TEXT NOT NULL,
    ingested_at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX event_batches_time ON event_batches (workspace_id, ingested_at);

-- Each event's, so that it is stored once. `batch` is no later than the one that has the event, and later than all that
-- were there before: so an insert that passes over what is known can be asked afterwards what that was.
CREATE TABLE event_ids (
    workspace_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    batch INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, id)
) WITHOUT ROWID;
