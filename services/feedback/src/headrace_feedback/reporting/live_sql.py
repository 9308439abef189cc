# ruff: noqa: S608  (our own words: what is a value travels as a parameter)
"""What is asked of live traffic. Our own words alone: values travel as parameters."""

from __future__ import annotations

# Of two sides that hold the same answers the one that names a version has them.
_SIDE = """
    CASE
        WHEN i.variant_name = {a} AND {av} <> '' AND i.variant_version = {av} THEN 'a'
        WHEN i.variant_name = {b} AND {bv} <> '' AND i.variant_version = {bv} THEN 'b'
        WHEN i.variant_name = {a} AND {av} = '' THEN 'a'
        WHEN i.variant_name = {b} AND {bv} = '' THEN 'b'
    END
"""

#: $1 tenant, $2 kind, $3 product, $4 since, $5 until, $6 to $9 A's and B's variant and version, $10 the tiers that are
#: told apart by sources, $11 how many answers at most.
BATCHES = """
    WITH answers AS MATERIALIZED (
        SELECT i.query_id, i.tier FROM interactions i
        WHERE i.tenant = $1 AND ($2 = '' OR i.kind = $2) AND ($3 = '' OR i.product = $3)
            AND ($4::timestamptz IS NULL OR i.completed_at >= $4) AND ($5::timestamptz IS NULL OR i.completed_at < $5)
            AND ((i.variant_name = $6 AND $7 IN ('', i.variant_version))
                OR (i.variant_name = $8 AND $9 IN ('', i.variant_version)))
        ORDER BY i.completed_at DESC LIMIT $11
    ), used AS (
        SELECT c.query_id, max(c.tier) AS tier FROM interaction_chunks c JOIN answers a USING (query_id)
        WHERE c.tenant = $1 GROUP BY c.query_id
    ), strictest AS MATERIALIZED (
        SELECT a.query_id, GREATEST(a.tier, u.tier) AS tier FROM answers a LEFT JOIN used u USING (query_id)
    ), apart AS (
        SELECT c.query_id, array_agg(DISTINCT c.source ORDER BY c.source) AS sources
        FROM interaction_chunks c JOIN strictest s USING (query_id)
        WHERE c.tenant = $1 AND s.tier = ANY($10::smallint[]) GROUP BY c.query_id
    )
    SELECT s.tier, COALESCE(p.sources, '{}') AS sources, array_agg(s.query_id) AS ids
    FROM strictest s LEFT JOIN apart p USING (query_id) GROUP BY 1, 2 ORDER BY 1, 2
"""

# $1 tenant, $2 the answers, $3 to $6 A's and B's variant and version.
_CHOSEN = f"""
    chosen AS MATERIALIZED (
        SELECT i.query_id, i.kind, {_SIDE.format(a="$3", av="$4", b="$5", bv="$6")} AS side,
            dense_rank() OVER (
                ORDER BY CASE WHEN i.conversation_id = '' THEN i.query_id::text ELSE i.conversation_id END
            ) AS conversation,
            row_number() OVER () AS alone, i.grounding, i.cost_micro_usd, i.timings_ms
        FROM interactions i JOIN unnest($2::uuid[]) AS allowed (query_id) USING (query_id)
        WHERE i.tenant = $1
    )
"""
# Of one person's judgements of one answer the last of each kind and detail counts.
_SAID = """
    said AS MATERIALIZED (
        SELECT DISTINCT ON (f.query_id, f.subject, f.kind, f.detail) f.query_id, f.kind, f.detail, f.score
        FROM feedback f JOIN chosen c USING (query_id)
        WHERE f.tenant = $1 AND f.kind IN ('thumb', 'rating', 'act')
        ORDER BY f.query_id, f.subject, f.kind, f.detail, f.recorded_at DESC, f.feedback_id DESC
    )
"""
_PLAIN = "'' AS version, '' AS rubric, 0 AS rubric_version, '' AS criterion, true AS decides"
# What has no scores: told by the answers themselves, and by what was said of them. Where nobody's program says that
# somebody copied, that nobody did says nothing.
_TOLD = f"""
    SELECT 'grounded' AS evaluator, {_PLAIN}, c.side, c.kind, c.conversation, (c.grounding = 'grounded')::int::float8
        AS value FROM chosen c WHERE c.grounding IN ('grounded', 'extracted')
    UNION ALL
    SELECT 'refused', {_PLAIN}, c.side, c.kind, c.conversation, (c.grounding = 'not_in_sources')::int FROM chosen c
        WHERE c.grounding <> 'unspecified'
    UNION ALL
    SELECT 'latency', {_PLAIN}, c.side, c.kind, c.alone, (c.timings_ms->>'total')::float8 / 1000 FROM chosen c
        WHERE c.timings_ms ? 'total'
    UNION ALL
    SELECT 'cost', {_PLAIN}, c.side, c.kind, c.alone, c.cost_micro_usd FROM chosen c
    UNION ALL
    SELECT CASE s.kind WHEN 'thumb' THEN 'thumbs' ELSE 'rating' END, {_PLAIN}, c.side, c.kind, c.conversation,
        CASE s.kind WHEN 'thumb' THEN (s.score > 0)::int ELSE s.score END
        FROM said s JOIN chosen c USING (query_id) WHERE s.kind <> 'act'
    UNION ALL
    SELECT act.name, {_PLAIN}, c.side, c.kind, c.conversation, (acted.query_id IS NOT NULL)::int
        FROM (SELECT DISTINCT s.detail AS name FROM said s WHERE s.detail IN ('copied', 'asked_again')) act
        CROSS JOIN chosen c
        LEFT JOIN (SELECT DISTINCT query_id, detail FROM said WHERE kind = 'act') acted
            ON acted.query_id = c.query_id AND acted.detail = act.name
"""
_WHOSE = "evaluator, version, rubric, rubric_version, criterion, side"

#: Each measure of each side, kind by kind and all together (kind ''): by conversation its sum, its size, its squares'.
EVIDENCE = f"""
    WITH {_CHOSEN}, {_SAID},
    measured AS (
        SELECT s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion, s.decides, c.side, c.kind,
            c.conversation, s.value
        FROM scores s JOIN chosen c USING (query_id)
        WHERE s.tenant = $1 AND s.run_id = '' AND s.evaluator NOT IN ('latency', 'cost')
        UNION ALL {_TOLD}
    ), grouped AS (
        SELECT {_WHOSE}, kind, conversation, bool_and(decides) AS decides, sum(value) AS of_values,
            count(*)::float8 AS of_ones, sum(value * value) AS of_squares
        FROM measured
        GROUP BY GROUPING SETS (({_WHOSE}, kind, conversation), ({_WHOSE}, conversation))
    )
    SELECT {_WHOSE}, COALESCE(kind, '') AS kind, bool_and(decides) AS decides, array_agg(of_values) AS sums,
        array_agg(of_ones) AS sizes, array_agg(of_squares) AS squares
    FROM grouped GROUP BY {_WHOSE}, kind ORDER BY {_WHOSE}, kind
"""

#: How many answers, and how many of them are made of what has changed since.
COUNTS = f"""
    WITH {_CHOSEN},
    stale AS (
        SELECT DISTINCT k.query_id FROM documents d
        JOIN interaction_chunks k ON k.tenant = d.tenant AND k.source = d.source AND k.document_id = d.document_id
            AND d.version > k.document_version
        JOIN chosen c ON c.query_id = k.query_id
        WHERE d.tenant = $1
    )
    SELECT COALESCE(c.kind, '') AS kind, count(*) FILTER (WHERE c.side = 'a') AS a,
        count(*) FILTER (WHERE c.side = 'b') AS b, 0 AS pairs,
        count(s.query_id) FILTER (WHERE c.side = 'a') AS stale_a,
        count(s.query_id) FILTER (WHERE c.side = 'b') AS stale_b
    FROM chosen c LEFT JOIN stale s USING (query_id) GROUP BY GROUPING SETS ((c.kind), ())
"""

#: $1 tenant, $2 name, $3 since, $4 the tiers that are counted.
PROMPTS = """
    WITH chosen AS MATERIALIZED (
        SELECT i.query_id, i.prompt_name, i.prompt_version, i.grounding FROM interactions i
        WHERE i.tenant = $1 AND ($2 = '' OR i.prompt_name = $2)
            AND ($3::timestamptz IS NULL OR i.completed_at >= $3) AND i.tier = ANY($4::smallint[])
            AND NOT EXISTS (
                SELECT FROM interaction_chunks c
                WHERE c.tenant = $1 AND c.query_id = i.query_id AND c.tier <> ALL ($4::smallint[]))
    ), said AS (
        SELECT DISTINCT ON (f.query_id, f.subject) f.query_id, f.score
        FROM feedback f JOIN chosen c USING (query_id) WHERE f.tenant = $1 AND f.kind = 'thumb'
        ORDER BY f.query_id, f.subject, f.recorded_at DESC, f.feedback_id DESC
    ), thumbs AS (
        SELECT query_id, count(*) FILTER (WHERE score > 0) AS up, count(*) FILTER (WHERE score < 0) AS down
        FROM said GROUP BY query_id
    )
    SELECT c.prompt_name, c.prompt_version, count(*) AS answers,
        count(*) FILTER (WHERE c.grounding = 'grounded') AS borne_out,
        count(*) FILTER (WHERE c.grounding = 'extracted') AS extracted,
        count(*) FILTER (WHERE c.grounding = 'not_in_sources') AS refused,
        COALESCE(sum(t.up), 0)::bigint AS thumbs_up, COALESCE(sum(t.down), 0)::bigint AS thumbs_down
    FROM chosen c LEFT JOIN thumbs t USING (query_id)
    GROUP BY c.prompt_name, c.prompt_version ORDER BY c.prompt_name, length(c.prompt_version), c.prompt_version
"""
