# ruff: noqa: S608  (our own words: what is a value travels as a parameter)
"""What is asked of a run: the same questions, answered by both sides. Our own words alone."""

from __future__ import annotations

HAS_SHADOW = "SELECT EXISTS (SELECT FROM trial_answers WHERE tenant = $1 AND run_id = $2)"

#: $1 tenant, $2 run, $3 kind, $4 product, $5 since, $6 until, $7 to $12 A's and B's variant, version and setting, $13
#: the tiers that are told apart by sources, $14 how many cases at most. Of a shadow a case is a live query.
BATCHES = """
    WITH trials AS MATERIALIZED (
        SELECT t.case_id, max(t.tier) AS tier, max(t.completed_at) AS completed_at FROM trial_answers t
        WHERE t.tenant = $1 AND t.run_id = $2 AND ($3 = '' OR t.kind = $3) AND ($4 = '' OR t.product = $4)
            AND ($5::timestamptz IS NULL OR t.completed_at >= $5) AND ($6::timestamptz IS NULL OR t.completed_at < $6)
            AND ((t.variant_name = $7 AND $8 IN ('', t.variant_version) AND t.setting = $9)
                OR (t.variant_name = $10 AND $11 IN ('', t.variant_version) AND t.setting = $12))
        GROUP BY t.case_id ORDER BY completed_at DESC LIMIT $14
    ), parts AS (
        SELECT c.case_id, c.tier, c.sources FROM run_cases c JOIN trials USING (case_id)
            WHERE c.tenant = $1 AND c.run_id::text = $2
        UNION ALL
        SELECT t.case_id, t.tier, t.sources FROM trial_answers t JOIN trials USING (case_id)
            WHERE t.tenant = $1 AND t.run_id = $2
        UNION ALL
        SELECT i.query_id::text, GREATEST(i.tier, used.tier), COALESCE(used.sources, '{}') FROM interactions i
        JOIN trials ON trials.case_id = i.query_id::text
        LEFT JOIN LATERAL (
            SELECT max(k.tier) AS tier, array_agg(DISTINCT k.source) AS sources
            FROM interaction_chunks k WHERE k.tenant = i.tenant AND k.query_id = i.query_id
        ) used ON true
        WHERE i.tenant = $1 AND $2 LIKE 'shadow:%'
    ), strictest AS (
        SELECT p.case_id, max(p.tier) AS tier, array_agg(DISTINCT s.source ORDER BY s.source)
            FILTER (WHERE s.source IS NOT NULL) AS sources
        FROM parts p LEFT JOIN LATERAL unnest(p.sources) AS s (source) ON true GROUP BY p.case_id
    )
    SELECT s.tier, CASE WHEN s.tier = ANY($13::smallint[]) THEN COALESCE(s.sources, '{}') ELSE '{}' END AS sources,
        array_agg(s.case_id) AS ids
    FROM strictest s GROUP BY 1, 2 ORDER BY 1, 2
"""

_CONVERSATION = "CASE WHEN {row}.conversation_id = '' THEN {case} ELSE {row}.conversation_id END"
_TRIAL = f"""
    SELECT {{side}} AS side, t.case_id, t.query_id, t.kind, {_CONVERSATION.format(row="t", case="t.case_id")} AS talk,
        t.grounding, t.cost_micro_usd, t.timings_ms, false AS is_live, t.completed_at
    FROM trial_answers t JOIN allowed USING (case_id)
    WHERE t.tenant = $1 AND t.run_id = $2 AND t.variant_name = {{name}} AND {{version}} IN ('', t.variant_version)
        AND t.setting = {{setting}} AND t.finish_reason NOT IN ('failed', 'withheld')
"""
# The answers of then: of a replay for a side without a name, of a shadow for whoever gave them.
_THEN = f"""
    SELECT {{side}}, i.query_id::text, i.query_id, i.kind, {_CONVERSATION.format(row="i", case="i.query_id::text")},
        i.grounding, i.cost_micro_usd, i.timings_ms, true, i.completed_at
    FROM interactions i JOIN unnest($10::uuid[]) AS live (query_id) USING (query_id)
    WHERE i.tenant = $1 AND ({{name}} = ''
        OR ($2 LIKE 'shadow:%' AND i.variant_name = {{name}} AND {{version}} IN ('', i.variant_version)))
"""
# $1 tenant, $2 run, $3 to $8 A's and B's variant, version and setting, $9 the cases that may be measured, $10 those of
# them that are live queries. Whoever was tried comes before whoever answered then; of several versions the last that
# answered counts.
_PAIRS = f"""
    allowed AS (SELECT unnest($9::text[]) AS case_id),
    answers AS (
        {_TRIAL.format(side="'a'", name="$3", version="$4", setting="$5")} AND $3 <> ''
        UNION ALL {_TRIAL.format(side="'b'", name="$6", version="$7", setting="$8")} AND $6 <> ''
        UNION ALL {_THEN.format(side="'a'", name="$3", version="$4")}
        UNION ALL {_THEN.format(side="'b'", name="$6", version="$7")}
    ), chosen AS MATERIALIZED (
        SELECT DISTINCT ON (side, case_id) * FROM answers ORDER BY side, case_id, is_live, completed_at DESC, query_id
    ), pairs AS MATERIALIZED (
        SELECT a.case_id, a.query_id AS id_a, b.query_id AS id_b, b.kind,
            dense_rank() OVER (ORDER BY a.talk) AS conversation,
            a.grounding AS grounding_a, b.grounding AS grounding_b, a.cost_micro_usd AS cost_a,
            b.cost_micro_usd AS cost_b, (a.timings_ms->>'total')::float8 / 1000 AS latency_a,
            (b.timings_ms->>'total')::float8 / 1000 AS latency_b
        FROM chosen a JOIN chosen b USING (case_id) WHERE a.side = 'a' AND b.side = 'b' AND a.query_id <> b.query_id
    )
"""
# The answers of then were measured for the run, or before it, as live ones; what was measured for it comes first.
_SCORED = """
    scored AS (
        SELECT DISTINCT ON (s.query_id, s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion)
            s.query_id, s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion, s.value, s.decides
        FROM scores s JOIN chosen c USING (query_id)
        WHERE s.tenant = $1 AND (s.run_id = $2 OR (s.run_id = '' AND c.is_live))
            AND s.evaluator NOT IN ('latency', 'cost')
        ORDER BY s.query_id, s.evaluator, s.version, s.rubric, s.rubric_version, s.criterion, s.run_id DESC
    )
"""
_PLAIN = "'' AS version, '' AS rubric, 0 AS rubric_version, '' AS criterion, true AS decides"
_TOLD = f"""
    SELECT 'grounded', {_PLAIN}, kind, conversation, (grounding_a = 'grounded')::int, (grounding_b = 'grounded')::int
        FROM pairs WHERE grounding_a IN ('grounded', 'extracted') AND grounding_b IN ('grounded', 'extracted')
    UNION ALL
    SELECT 'refused', {_PLAIN}, kind, conversation, (grounding_a = 'not_in_sources')::int,
        (grounding_b = 'not_in_sources')::int FROM pairs WHERE 'unspecified' NOT IN (grounding_a, grounding_b)
    UNION ALL
    SELECT 'latency', {_PLAIN}, kind, conversation, latency_a, latency_b FROM pairs
        WHERE latency_a IS NOT NULL AND latency_b IS NOT NULL
    UNION ALL
    SELECT 'cost', {_PLAIN}, kind, conversation, cost_a, cost_b FROM pairs
"""
# A tie is half a win for each. What a judge was shown the other way round is turned.
_JUDGED = """
    SELECT 'wins:' || s.judge, s.version::text, s.rubric, s.rubric_version, s.criterion, s.decides, p.kind,
        p.conversation, CASE s.outcome WHEN 'same' THEN 0.5 ELSE (s.outcome = {a})::int END,
        CASE s.outcome WHEN 'same' THEN 0.5 ELSE (s.outcome = {b})::int END
    FROM pair_scores s JOIN pairs p ON s.case_id = p.case_id AND s.arm_a = p.{first} AND s.arm_b = p.{second}
    WHERE s.tenant = $1 AND s.run_id = $2
"""
_WHOSE = "evaluator, version, rubric, rubric_version, criterion"

#: Each measure, kind by kind and all together (kind ''): what A has and what B has, pair by pair, and of which
#: conversation.
EVIDENCE = f"""
    WITH {_PAIRS}, {_SCORED},
    measured AS (
        SELECT a.evaluator, a.version, a.rubric, a.rubric_version, a.criterion, a.decides AND b.decides AS decides,
            p.kind, p.conversation, a.value AS a, b.value AS b
        FROM pairs p JOIN scored a ON a.query_id = p.id_a JOIN scored b ON b.query_id = p.id_b
            AND (b.evaluator, b.version, b.rubric, b.rubric_version, b.criterion)
                = (a.evaluator, a.version, a.rubric, a.rubric_version, a.criterion)
        UNION ALL {_TOLD}
        UNION ALL {_JUDGED.format(a="'a'", b="'b'", first="id_a", second="id_b")}
        UNION ALL {_JUDGED.format(a="'b'", b="'a'", first="id_b", second="id_a")}
    )
    SELECT {_WHOSE}, COALESCE(kind, '') AS kind, bool_and(decides) AS decides, array_agg(a) AS a, array_agg(b) AS b,
        array_agg(conversation) AS groups
    FROM measured GROUP BY GROUPING SETS (({_WHOSE}, kind), ({_WHOSE})) ORDER BY {_WHOSE}, kind
"""

_LENGTHS = """
    SELECT 'wins:' || s.judge AS evaluator, s.version::text AS version, s.rubric, s.rubric_version, s.criterion,
        p.kind, {preference} AS preference, ({longer} - {shorter})::float8 AS extra
    FROM pair_scores s JOIN pairs p ON s.case_id = p.case_id AND s.arm_a = p.{first} AND s.arm_b = p.{second}
    WHERE s.tenant = $1 AND s.run_id = $2
"""
_STRAIGHT = {"preference": "s.preference", "longer": "s.length_b", "shorter": "s.length_a"}
_TURNED = {"preference": "1 - s.preference", "longer": "s.length_a", "shorter": "s.length_b"}

#: For each judge how far it prefers B, and by how much B's answer is longer, in characters.
LENGTHS = f"""
    WITH {_PAIRS}, judged AS (
        {_LENGTHS.format(**_STRAIGHT, first="id_a", second="id_b")}
        UNION ALL {_LENGTHS.format(**_TURNED, first="id_b", second="id_a")}
    )
    SELECT {_WHOSE}, array_agg(preference) AS preferences, array_agg(extra) AS extra FROM judged GROUP BY {_WHOSE}
"""

#: How many answers each side has, how many pairs, and how many answers of then are made of what has changed since.
COUNTS = f"""
    WITH {_PAIRS},
    stale AS (
        SELECT DISTINCT c.side, c.case_id FROM chosen c
        JOIN interaction_chunks k ON k.query_id = c.query_id
        JOIN documents d ON d.tenant = k.tenant AND d.source = k.source AND d.document_id = k.document_id
            AND d.version > k.document_version
        WHERE c.is_live AND k.tenant = $1
    )
    SELECT COALESCE(c.kind, '') AS kind, count(*) FILTER (WHERE c.side = 'a') AS a,
        count(*) FILTER (WHERE c.side = 'b') AS b, count(p.case_id) FILTER (WHERE c.side = 'b') AS pairs,
        count(s.case_id) FILTER (WHERE c.side = 'a') AS stale_a,
        count(s.case_id) FILTER (WHERE c.side = 'b') AS stale_b
    FROM chosen c LEFT JOIN pairs p USING (case_id) LEFT JOIN stale s USING (side, case_id)
    GROUP BY GROUPING SETS ((c.kind), ())
"""
