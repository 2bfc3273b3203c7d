
-- name: add_event_ids
INSERT INTO event_ids (workspace_id, id) SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]))
ON CONFLICT (workspace_id, id) DO NOTHING RETURNING workspace_id, id

-- name: forget_event_ids
DELETE FROM event_ids
WHERE workspace_id = :workspace AND id = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(:ids AS JSONB))))

-- name: add_event_batches
INSERT INTO event_batches (workspace_id, agent, ingested_at, n, body)
SELECT * FROM unnest(CAST(:a AS BIGINT[]), CAST(:b AS TEXT[]), CAST(:c AS BIGINT[]), CAST(:d AS BIGINT[]),
    CAST(:e AS TEXT[]))

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
