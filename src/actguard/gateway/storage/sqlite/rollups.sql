
-- name: add_event_ids
INSERT OR IGNORE INTO event_ids (workspace_id, id, batch) SELECT :workspace, value, :batch FROM json_each(:ids)

-- name: known_event_ids
SELECT e.id FROM json_each(:ids) j CROSS JOIN event_ids e ON e.workspace_id = :workspace AND e.id = j.value
WHERE e.batch < :batch

-- name: forget_event_ids
DELETE FROM event_ids WHERE workspace_id = :workspace AND id IN (SELECT value FROM json_each(:ids))

-- name: add_event_batches
INSERT INTO event_batches (workspace_id, agent, ingested_at, n, body) VALUES :rows

-- name: add_to_event_rollups
INSERT INTO event_rollups AS r
    (workspace_id, dim, bucket, event, key, n, usd_micros, input_tokens, cached_input_tokens, output_tokens)
VALUES :rows
ON CONFLICT (workspace_id, dim, bucket, event, key) DO UPDATE
SET n = r.n + excluded.n, usd_micros = r.usd_micros + excluded.usd_micros,
    input_tokens = r.input_tokens + excluded.input_tokens,
    cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
    output_tokens = r.output_tokens + excluded.output_tokens

-- name: add_charge_rollup
INSERT INTO charge_rollups (workspace_id, dim, bucket, key, charges, usd_micros, tokens, overrun_micros)
VALUES :rows

-- name: charged_by_line
SELECT coalesce(CASE :by WHEN 'provider' THEN j.value ->> 'provider' WHEN 'scope' THEN j.value ->> 'scope_name'
                ELSE coalesce(j.value ->> 'model', j.value ->> 'name') END, ''),
       count(*), sum(j.value ->> 'usd_micros'),
       sum(coalesce(j.value -> 'usage' ->> 'input_tokens', 0) + coalesce(j.value -> 'usage' ->> 'output_tokens', 0))
FROM ledger l CROSS JOIN json_each(l.usage) j
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND (l.usd_spent > 0 OR l.tokens_spent > 0)
  AND l.usage <> ''
GROUP BY 1
