
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
