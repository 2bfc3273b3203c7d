
-- name: add_event
INSERT INTO events
    (workspace_id, id, ts, ingested_at, agent, user_id, run_id, category, name, provider, model, scope_name,
     usd_micros, body)
SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS TEXT[]), CAST(:d AS BIGINT[]),
    CAST(:e AS TEXT[]), CAST(:f AS TEXT[]), CAST(:g AS TEXT[]), CAST(:h AS TEXT[]), CAST(:i AS TEXT[]),
    CAST(:j AS TEXT[]), CAST(:k AS TEXT[]), CAST(:l AS TEXT[]), CAST(:m AS BIGINT[]), CAST(:n AS TEXT[]))
ON CONFLICT (workspace_id, id) DO NOTHING

-- name: add_to_event_rollups
INSERT INTO event_rollups AS r
    (workspace_id, dim, bucket, event, key, n, usd_micros, input_tokens, cached_input_tokens, output_tokens)
SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS BIGINT[]), CAST(:d AS TEXT[]),
    CAST(:e AS TEXT[]), CAST(:f AS BIGINT[]), CAST(:g AS BIGINT[]), CAST(:h AS BIGINT[]), CAST(:i AS BIGINT[]),
    CAST(:j AS BIGINT[]))
ON CONFLICT (workspace_id, dim, bucket, event, key) DO UPDATE
SET n = r.n + excluded.n, usd_micros = r.usd_micros + excluded.usd_micros,
    input_tokens = r.input_tokens + excluded.input_tokens,
    cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
    output_tokens = r.output_tokens + excluded.output_tokens

-- name: add_charge_rollup
INSERT INTO charge_rollups (workspace_id, dim, bucket, key, charges, usd_micros, tokens, overrun_micros)
SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS BIGINT[]), CAST(:d AS TEXT[]),
    CAST(:e AS BIGINT[]), CAST(:f AS BIGINT[]), CAST(:g AS BIGINT[]), CAST(:h AS BIGINT[]))

-- name: known_events
SELECT e.id FROM events e JOIN jsonb_array_elements_text(CAST(:ids AS JSONB)) AS i (id) ON e.id = i.id
WHERE e.workspace_id = :workspace

-- name: charged_by_line
SELECT coalesce(CASE :by WHEN 'provider' THEN j.value ->> 'provider' WHEN 'scope' THEN j.value ->> 'scope_name'
                ELSE coalesce(j.value ->> 'model', j.value ->> 'name') END, ''),
       count(*), sum(CAST(j.value ->> 'usd_micros' AS BIGINT)),
       sum(coalesce(CAST(j.value -> 'usage' ->> 'input_tokens' AS BIGINT), 0)
           + coalesce(CAST(j.value -> 'usage' ->> 'output_tokens' AS BIGINT), 0))
FROM ledger l CROSS JOIN LATERAL jsonb_array_elements(CAST(l.usage AS JSONB)) AS j (value)
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND (l.usd_spent > 0 OR l.tokens_spent > 0)
  AND l.usage <> ''
GROUP BY 1
