# ruff: noqa: S608  (our own words: what is a value travels as a parameter)
"""What is asked of live traffic. Our own words alone: values travel as parameters."""

from __future__ import annotations

# Of two sides that hold the same answers the one that names a version has them.
_SIDE = """
    CASE
        WHEN i.variant_name = {a} AND {av} <> '' AND i.variant_version = {av} THEN 1
        WHEN i.variant_name = {b} AND {bv} <> '' AND i.variant_version = {bv} THEN 2
        WHEN i.variant_name = {a} AND {av} = '' THEN 1
        WHEN i.variant_name = {b} AND {bv} = '' THEN 2
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
        WHERE c.tenant = $1 AND c.tier > a.tier GROUP BY c.query_id
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

# $1 tenant, $2 the answers: each is known by its place among them, from 0, so that what comes back is numbers alone.
_GIVEN = "unnest($2::uuid[]) WITH ORDINALITY AS given (query_id, number)"
_PLACE = "string_agg(int4send((given.number - 1)::int), ''::bytea)"

#: $3 to $6 A's and B's variant and version. One row of columns, as big-endian numbers one after another.
ANSWERS = f"""
    WITH chosen AS (
        SELECT given.number, i.kind, {_SIDE.format(a="$3", av="$4", b="$5", bv="$6")} AS side,
            dense_rank() OVER (ORDER BY i.kind) AS kind_number,
            dense_rank() OVER (
                ORDER BY CASE WHEN i.conversation_id = '' THEN i.query_id::text ELSE i.conversation_id END COLLATE "C"
            ) AS conversation,
            CASE i.grounding WHEN 'grounded' THEN 1 WHEN 'extracted' THEN 2 WHEN 'not_in_sources' THEN 3 ELSE 0 END
                AS grounding,
            i.cost_micro_usd::float8 AS cost, COALESCE((i.timings_ms->>'total')::float8 / 1000, 'NaN') AS seconds
        FROM interactions i JOIN {_GIVEN} USING (query_id)
        WHERE i.tenant = $1
    )
    SELECT string_agg(int4send((number - 1)::int), ''::bytea) AS places,
        string_agg(int4send(side), ''::bytea) AS side,
        string_agg(int4send((kind_number - 1)::int), ''::bytea) AS kind,
        string_agg(int4send(conversation::int), ''::bytea) AS conversation,
        string_agg(int4send(grounding), ''::bytea) AS grounding,
        string_agg(float8send(cost), ''::bytea) AS cost,
        string_agg(float8send(seconds), ''::bytea) AS seconds,
        COALESCE(array_agg(DISTINCT kind ORDER BY kind), '{{}}') AS kinds
    FROM chosen
"""

#: A row for each evaluator in each version.
SCORES = f"""
    SELECT s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion, bool_and(s.decides) AS decides,
        {_PLACE} AS places, string_agg(float8send(s.value), ''::bytea) AS values
    FROM scores s JOIN {_GIVEN} USING (query_id)
    WHERE s.tenant = $1 AND s.run_id = '' AND s.evaluator NOT IN ('latency', 'cost')
    GROUP BY s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion ORDER BY 1, 2, 3, 4, 5
"""

#: A row for each kind of judgement. Of one person's judgements of one answer the last of each kind and detail counts.
SAID = f"""
    WITH said AS (
        SELECT DISTINCT ON (f.query_id, f.subject, f.kind, f.detail) given.number, f.kind, f.detail, f.score
        FROM feedback f JOIN {_GIVEN} USING (query_id)
        WHERE f.tenant = $1 AND f.kind IN ('thumb', 'rating', 'act')
        ORDER BY f.query_id, f.subject, f.kind, f.detail, f.recorded_at DESC, f.feedback_id DESC
    )
    SELECT kind, detail, string_agg(int4send((number - 1)::int), ''::bytea) AS places,
        string_agg(float8send(score), ''::bytea) AS values
    FROM said GROUP BY kind, detail ORDER BY kind, detail
"""

#: The answers that are made of what has changed since.
STALE = f"""
    WITH stale AS (
        SELECT DISTINCT given.number FROM documents d
        JOIN interaction_chunks k ON k.tenant = d.tenant AND k.source = d.source AND k.document_id = d.document_id
            AND d.version > k.document_version
        JOIN {_GIVEN} ON given.query_id = k.query_id
        WHERE d.tenant = $1
    )
    SELECT string_agg(int4send((number - 1)::int), ''::bytea) FROM stale
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
