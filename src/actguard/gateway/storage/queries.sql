-- Statements that SQLite and Postgres read alike. Every one of a tenant's rows names the workspace.

-- name: workspaces
SELECT id, name, time_zone FROM workspaces ORDER BY id

-- name: workspace
SELECT id, name, time_zone FROM workspaces WHERE id = :workspace

-- name: workspace_by_name
SELECT id, name, time_zone FROM workspaces WHERE name = :name

-- name: add_workspace
INSERT INTO workspaces (name, time_zone, created_at) VALUES (:name, :time_zone, :now)
ON CONFLICT (name) DO NOTHING

-- name: set_time_zone
UPDATE workspaces SET time_zone = :time_zone WHERE id = :workspace

-- name: add_key
INSERT INTO keys (key_id, workspace_id, agent, role, secret_hash, created_at)
VALUES (:key_id, :workspace, :agent, :role, :secret_hash, :now)

-- name: key
SELECT k.workspace_id, k.agent, k.role, k.secret_hash, k.revoked_at FROM keys k WHERE k.key_id = :key_id

-- name: keys
SELECT key_id, agent, role, created_at, revoked_at FROM keys WHERE workspace_id = :workspace ORDER BY created_at, key_id

-- name: revoke_key
UPDATE keys SET revoked_at = :now WHERE workspace_id = :workspace AND key_id = :key_id AND revoked_at IS NULL

-- name: key_count
SELECT count(*) FROM keys

-- name: budgets
SELECT scope, scope_key, window_kind, usd_limit, token_limit, observe FROM budgets
WHERE workspace_id = :workspace ORDER BY scope, scope_key, window_kind

-- name: put_budget
INSERT INTO budgets (workspace_id, scope, scope_key, window_kind, usd_limit, token_limit, observe, created_at)
VALUES (:workspace, :scope, :scope_key, :window_kind, :usd_limit, :token_limit, :observe, :now)
ON CONFLICT (workspace_id, scope, scope_key, window_kind)
DO UPDATE SET usd_limit = excluded.usd_limit, token_limit = excluded.token_limit, observe = excluded.observe

-- name: add_credit
INSERT INTO budgets (workspace_id, scope, scope_key, window_kind, usd_limit, created_at)
VALUES (:workspace, 'balance', '', 'total', :usd, :now)
ON CONFLICT (workspace_id, scope, scope_key, window_kind)
DO UPDATE SET usd_limit = budgets.usd_limit + excluded.usd_limit

-- name: remove_budget
DELETE FROM budgets
WHERE workspace_id = :workspace AND scope = :scope AND scope_key = :scope_key AND window_kind = :window_kind

-- name: counter
SELECT usd_held, usd_spent, tokens_held, tokens_spent FROM counters
WHERE workspace_id = :workspace AND scope = :scope AND scope_key = :scope_key
  AND window_kind = :window_kind AND window_start = :window_start

-- name: runs
SELECT run_id, agent, user_id, min(created_at), max(coalesce(ended_at, 0)), count(*), sum(usd_held), sum(usd_spent),
       sum(tokens_spent), sum(CASE WHEN state = 'open' THEN 1 ELSE 0 END)
FROM holds WHERE workspace_id = :workspace AND created_at >= :since AND created_at < :until
  AND (:run_id = '' OR run_id = :run_id)
GROUP BY run_id, agent, user_id ORDER BY min(created_at) DESC, run_id LIMIT :most

-- name: transitions
SELECT l.seq, l.at, l.op, l.reserve_id, h.agent, h.user_id, h.run_id, h.plan_key, l.usd_held, l.usd_spent,
       l.tokens_spent, l.usd_overrun, CASE l.op WHEN 'would_block' THEN l.usage ELSE '' END
FROM ledger l JOIN holds h ON h.workspace_id = l.workspace_id AND h.reserve_id = l.reserve_id
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND l.op <> 'renewed'
  AND (:run_id = '' OR h.run_id = :run_id)
ORDER BY l.seq DESC LIMIT :most

-- name: event_batches
SELECT number, ingested_at, body FROM event_batches
WHERE workspace_id = :workspace AND ingested_at >= :since AND (ingested_at, number) < (:until, :number)
ORDER BY ingested_at DESC, number DESC LIMIT :most

-- name: open_holds
SELECT count(*), min(expires_at) FROM holds WHERE state = 'open'

-- name: forget_answers
DELETE FROM answers WHERE at < :before

-- name: audit_holds
SELECT h.workspace_id, h.reserve_id FROM holds h
LEFT JOIN (SELECT workspace_id, reserve_id, sum(usd_held) AS usd_held, sum(usd_spent) AS usd_spent,
                  sum(tokens_held) AS tokens_held, sum(tokens_spent) AS tokens_spent
           FROM ledger GROUP BY workspace_id, reserve_id) l
  ON l.workspace_id = h.workspace_id AND l.reserve_id = h.reserve_id
WHERE coalesce(l.usd_held, 0) <> h.usd_held OR coalesce(l.usd_spent, 0) <> h.usd_spent
   OR coalesce(l.tokens_held, 0) <> h.tokens_held OR coalesce(l.tokens_spent, 0) <> h.tokens_spent

-- name: all_counters
SELECT id, workspace_id, scope, scope_key, window_kind, window_start, usd_held, usd_spent, tokens_held, tokens_spent
FROM counters

-- name: all_holds
SELECT workspace_id, counters, usd_held, usd_spent, tokens_held, tokens_spent FROM holds

-- name: answer
SELECT hash, status, body FROM answers WHERE workspace_id = :workspace AND idempotency_key = :key

-- name: add_answer
INSERT INTO answers (workspace_id, idempotency_key, hash, status, body, at)
VALUES (:workspace, :key, :hash, :status, :body, :now)

