
-- Statements of the rollups, which SQLite and Postgres read alike.

-- name: event_rollups
SELECT bucket, key, n, usd_micros, input_tokens, cached_input_tokens, output_tokens FROM event_rollups
WHERE workspace_id = :workspace AND dim = :dim AND bucket >= :since AND bucket < :until AND event = :event
ORDER BY bucket, key

-- name: forget_event_batches
DELETE FROM event_batches WHERE number IN (
    SELECT number FROM (
        SELECT number, sum(n) OVER (ORDER BY ingested_at, number) - n AS earlier FROM (
            SELECT number, ingested_at, n FROM event_batches
            WHERE workspace_id = :workspace AND ingested_at < :before
            ORDER BY ingested_at, number LIMIT :most) oldest) page
    WHERE earlier < :most)
RETURNING body

-- name: charged
SELECT l.at - l.at % 900000000, count(*), sum(l.usd_spent), sum(l.tokens_spent), sum(l.usd_overrun) FROM ledger l
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND (l.usd_spent > 0 OR l.tokens_spent > 0)
GROUP BY 1

-- name: charged_by_hold
SELECT CASE :by WHEN 'agent' THEN h.agent WHEN 'user' THEN h.user_id WHEN 'plan' THEN h.plan_key ELSE h.run_id END,
       count(*), sum(l.usd_spent), sum(l.tokens_spent)
FROM ledger l JOIN holds h ON h.workspace_id = l.workspace_id AND h.reserve_id = l.reserve_id
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND (l.usd_spent > 0 OR l.tokens_spent > 0)
GROUP BY 1

-- name: rolled_charges
SELECT key, sum(charges), sum(usd_micros), sum(tokens) FROM charge_rollups
WHERE workspace_id = :workspace AND dim = :dim AND bucket >= :since AND bucket < :until
GROUP BY key

-- name: rolled_quarters
SELECT bucket, charges, usd_micros, tokens, overrun_micros FROM charge_rollups
WHERE workspace_id = :workspace AND dim = 'total' AND bucket >= :since AND bucket < :until

-- name: rolled_until
SELECT until FROM rolled_up WHERE workspace_id = :workspace

-- name: first_charge
SELECT min(at) FROM ledger WHERE workspace_id = :workspace AND at >= :since

-- name: begin_rollups
INSERT INTO rolled_up (workspace_id, until) VALUES (:workspace, :until) ON CONFLICT (workspace_id) DO NOTHING

-- name: move_rollups
UPDATE rolled_up SET until = :until WHERE workspace_id = :workspace AND until = :since
