
-- Statements of SQLite's own.

-- name: now_at_least
SELECT max(coalesce((SELECT at FROM ledger ORDER BY seq DESC LIMIT 1), 0),
           coalesce((SELECT max(created_at) FROM keys), 0))

-- name: load_holds
SELECT h.* FROM json_each(:ids) j
CROSS JOIN holds h ON h.workspace_id = j.value ->> 0 AND h.reserve_id = j.value ->> 1

-- name: load_fingerprints
SELECT h.* FROM json_each(:ids) j CROSS JOIN holds h
ON h.workspace_id = j.value ->> 0 AND h.fingerprint = j.value ->> 1 AND h.state = 'open' AND h.fingerprint IS NOT NULL

-- name: load_due
SELECT * FROM holds WHERE state = 'open' AND expires_at <= :now ORDER BY expires_at LIMIT :most

-- name: next_due
SELECT coalesce(min(expires_at), 9223372036854775807) FROM holds WHERE state = 'open' AND expires_at > :now

-- name: load_answers
SELECT a.* FROM json_each(:ids) j
CROSS JOIN answers a ON a.workspace_id = j.value ->> 0 AND a.idempotency_key = j.value ->> 1

-- name: load_zones
SELECT id, time_zone FROM workspaces WHERE id IN (SELECT value FROM json_each(:ids))

-- name: load_budgets
SELECT b.workspace_id, b.scope, b.scope_key, b.window_kind, b.usd_limit, b.token_limit, b.observe
FROM json_each(:ids) j CROSS JOIN budgets b
ON b.workspace_id = j.value ->> 0 AND b.scope = j.value ->> 1 AND b.scope_key = j.value ->> 2

-- name: load_counters
SELECT c.* FROM json_each(:ids) j CROSS JOIN counters c
ON c.workspace_id = j.value ->> 0 AND c.scope = j.value ->> 1 AND c.scope_key = j.value ->> 2
AND c.window_kind = j.value ->> 3 AND c.window_start = j.value ->> 4

-- name: add_event
INSERT OR IGNORE INTO events
    (workspace_id, id, ts, ingested_at, agent, user_id, run_id, category, name, provider, model, scope_name,
     usd_micros, body)
VALUES (:workspace, :id, :ts, :ingested_at, :agent, :user_id, :run_id, :category, :name, :provider, :model, :scope_name,
        :usd_micros, :body)
