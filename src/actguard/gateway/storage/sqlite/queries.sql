
-- Statements of SQLite's own.

-- name: now_at_least
SELECT max(coalesce((SELECT at FROM ledger ORDER BY seq DESC LIMIT 1), 0),
           coalesce((SELECT max(created_at) FROM keys), 0))

-- name: load_holds
SELECT h.* FROM (VALUES :rows) i CROSS JOIN holds h ON h.workspace_id = i.column1 AND h.reserve_id = i.column2

-- name: load_fingerprints
SELECT h.* FROM (VALUES :rows) i CROSS JOIN holds h
ON h.workspace_id = i.column1 AND h.fingerprint = i.column2 AND h.state = 'open' AND h.fingerprint IS NOT NULL

-- name: load_due
SELECT * FROM holds WHERE state = 'open' AND expires_at <= :now ORDER BY expires_at LIMIT :most

-- name: next_due
SELECT coalesce(min(expires_at), 9223372036854775807) FROM holds WHERE state = 'open' AND expires_at > :now

-- name: load_answers
SELECT a.* FROM (VALUES :rows) i CROSS JOIN answers a
ON a.workspace_id = i.column1 AND a.idempotency_key = i.column2

-- name: load_zones
SELECT id, time_zone FROM workspaces WHERE id IN (VALUES :rows)

-- name: load_budgets
SELECT b.workspace_id, b.scope, b.scope_key, b.window_kind, b.usd_limit, b.token_limit, b.observe
FROM (VALUES :rows) i CROSS JOIN budgets b
ON b.workspace_id = i.column1 AND b.scope = i.column2 AND b.scope_key = i.column3

-- name: load_counters
SELECT * FROM counters WHERE id IN (VALUES :rows)

-- name: find_counters
SELECT c.* FROM (VALUES :rows) i CROSS JOIN counters c
ON c.workspace_id = i.column1 AND c.scope = i.column2 AND c.scope_key = i.column3
AND c.window_kind = i.column4 AND c.window_start = i.column5

-- name: start_counters
INSERT INTO counters (workspace_id, scope, scope_key, window_kind, window_start) VALUES :rows

-- name: add_holds
INSERT INTO holds (workspace_id, reserve_id, agent, run_id, user_id, plan_key, state, usd_limit, token_limit,
    usd_held, tokens_held, ttl, created_at, expires_at, fingerprint, reserve_hash, tariff_version, counters, keyed) VALUES :rows

-- name: replace_holds
REPLACE INTO holds VALUES :rows

-- name: end_holds
WITH ended (workspace_id, reserve_id, state, usd_spent, tokens_spent, usd_released, ended_at, settle_hash, keyed,
    settles, seqs) AS (VALUES :rows)
UPDATE holds SET usd_held = 0, tokens_held = 0, state = ended.state, usd_spent = ended.usd_spent,
    tokens_spent = ended.tokens_spent, usd_released = ended.usd_released, ended_at = ended.ended_at,
    settle_hash = ended.settle_hash, keyed = ended.keyed, settles = ended.settles, seqs = ended.seqs
FROM ended WHERE holds.workspace_id = ended.workspace_id AND holds.reserve_id = ended.reserve_id

-- name: save_counters
WITH changed (id, usd_held, usd_spent, tokens_held, tokens_spent) AS (VALUES :rows)
UPDATE counters SET usd_held = changed.usd_held, usd_spent = changed.usd_spent,
    tokens_held = changed.tokens_held, tokens_spent = changed.tokens_spent
FROM changed WHERE counters.id = changed.id

-- name: add_entries
INSERT INTO ledger (workspace_id, reserve_id, op, at, usd_held, usd_spent, tokens_held, tokens_spent, usd_overrun,
    client_usd, usage)
VALUES :rows

-- name: add_answers
INSERT INTO answers VALUES :rows

-- name: next_event_batch
SELECT coalesce(max(number), 0) + 1 FROM event_batches

