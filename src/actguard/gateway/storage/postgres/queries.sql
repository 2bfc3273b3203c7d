
-- Statements of Postgres' own. Rows are locked in the order of their keys, holds before counters, in every gateway.

-- name: clock
SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)

-- name: now_at_least
SELECT coalesce((SELECT at FROM ledger ORDER BY seq DESC LIMIT 1), 0)

-- name: load_holds
SELECT h.* FROM holds h
JOIN unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[])) AS i (workspace_id, reserve_id) USING (workspace_id, reserve_id)
ORDER BY h.workspace_id, h.reserve_id FOR UPDATE OF h

-- name: load_fingerprints
SELECT h.* FROM holds h
JOIN unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[])) AS i (workspace_id, fingerprint) USING (workspace_id, fingerprint)
WHERE h.state = 'open' AND h.fingerprint IS NOT NULL
ORDER BY h.workspace_id, h.reserve_id FOR UPDATE OF h

-- name: load_due
SELECT * FROM holds WHERE state = 'open' AND expires_at <= coalesce(CAST(:now AS BIGINT),
    greatest(CAST(:latest AS BIGINT), CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)))
ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED

-- name: load_answers
SELECT a.* FROM answers a JOIN unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[])) AS i (workspace_id, idempotency_key)
USING (workspace_id, idempotency_key)

-- Lets the rows go before the log is on the disk; `flush` waits for that.
-- name: commit_early
SELECT set_config('synchronous_commit', 'off', true)

-- A record of its own, so that there is something to wait for, and with it for all that was written before it.
-- name: flush
SELECT pg_logical_emit_message(true, 'actguard', '')

-- The time is in every row, and there is a row if nothing else is.
-- name: load_budgets
SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT), w.id, w.time_zone,
    b.scope, b.scope_key, b.window_kind, b.usd_limit, b.token_limit, b.observe
FROM (VALUES (1)) AS always
LEFT JOIN workspaces w ON w.id = ANY(CAST(:a AS BIGINT[]))
LEFT JOIN (budgets b JOIN unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS TEXT[]))
    AS i (workspace_id, scope, scope_key) USING (workspace_id, scope, scope_key)) ON b.workspace_id = w.id

-- name: load_counters
SELECT id, workspace_id, scope, scope_key, window_kind, window_start, usd_held, usd_spent, tokens_held, tokens_spent
FROM counters WHERE id IN (
    SELECT unnest(CAST(:numbers AS BIGINT[]))
    UNION SELECT c.id FROM counters c
    JOIN unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS TEXT[]), CAST(:d AS TEXT[]), CAST(:e AS TEXT[]))
    AS i (workspace_id, scope, scope_key, window_kind, window_start)
    USING (workspace_id, scope, scope_key, window_kind, window_start))
ORDER BY id FOR UPDATE

-- name: start_counters
INSERT INTO counters (workspace_id, scope, scope_key, window_kind, window_start)
SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS TEXT[]), CAST(:d AS TEXT[]),
                     CAST(:e AS TEXT[]))
ON CONFLICT DO NOTHING
