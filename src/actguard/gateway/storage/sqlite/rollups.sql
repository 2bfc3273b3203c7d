
-- name: known_events
SELECT e.id FROM json_each(:ids) j CROSS JOIN events e ON e.workspace_id = :workspace AND e.id = j.value

-- name: charged_by_line
SELECT coalesce(CASE :by WHEN 'provider' THEN j.value ->> 'provider' WHEN 'scope' THEN j.value ->> 'scope_name'
                ELSE coalesce(j.value ->> 'model', j.value ->> 'name') END, ''),
       count(*), sum(j.value ->> 'usd_micros'),
       sum(coalesce(j.value -> 'usage' ->> 'input_tokens', 0) + coalesce(j.value -> 'usage' ->> 'output_tokens', 0))
FROM ledger l CROSS JOIN json_each(l.usage) j
WHERE l.workspace_id = :workspace AND l.at >= :since AND l.at < :until AND (l.usd_spent > 0 OR l.tokens_spent > 0)
  AND l.usage <> ''
GROUP BY 1
