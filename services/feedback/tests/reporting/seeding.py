"""Many answers at once, drawn by the database itself: for what is measured by the hundred thousand."""

from __future__ import annotations

from headrace_database import Database

#: $1 tenant, $2 answers, $3 answers to a conversation. Every other conversation is B's, which is grounded more often.
_ANSWERS = """
    INSERT INTO interactions (
        tenant, query_id, trace_id, traceparent, answer_event_id, product, subject, conversation_id, tier, grounding,
        finish_reason, prompt_name, prompt_version, model_name, model_version, model_provider, variant_name,
        variant_version, embedder_name, embedder_hash, input_tokens, output_tokens, cached_input_tokens, cost_micro_usd,
        time_to_first_token_ms, timings_ms, accepted_at, completed_at, stored_at, record, kind
    )
    SELECT $1, gen_random_uuid(), '', '', gen_random_uuid(), 'docs-search', '', 'c' || (n / $3), 1,
        CASE WHEN random() < .6 + .1 * ((n / $3) % 2) THEN 'grounded' ELSE 'extracted' END, 'stop', 'p', '1', 'm', '1',
        'local', CASE (n / $3) % 2 WHEN 0 THEN 'default' ELSE 'shorter' END, '1', 'e', 'h', 100, 20, 0, 5, 30,
        jsonb_build_object('total', 500 + 1000 * random()), now(), now(), now(), decode(repeat('ab', 400), 'hex'),
        'kind-' || n % 5
    FROM generate_series(0, $2 - 1) AS n
"""
_CHUNKS = """
    INSERT INTO interaction_chunks
    SELECT i.tenant, i.query_id, 'chunk-' || k, 1, 'handbook', 'page-' || k, 1, k, 0
    FROM interactions i CROSS JOIN generate_series(1, 4) AS k WHERE i.tenant = $1
"""
_SCORES = """
    INSERT INTO scores (
        tenant, query_id, run_id, evaluator, version, rubric, rubric_version, criterion, value, label, tier, decides,
        scored_at
    )
    SELECT i.tenant, i.query_id, '', e.name, '1', '', 0, '', random(), '', 1, true, now()
    FROM interactions i CROSS JOIN unnest($2::text[]) AS e (name) WHERE i.tenant = $1
"""
_THUMBS = """
    INSERT INTO feedback (
        tenant, feedback_id, query_id, trace_id, subject, kind, score, tier, recorded_at, joined_at, record, detail
    )
    SELECT i.tenant, gen_random_uuid(), i.query_id, '', 'u', 'thumb', CASE WHEN random() < .7 THEN 1 ELSE -1 END, 1,
        now(), now(), ''::bytea, ''
    FROM interactions i WHERE i.tenant = $1 AND random() < .1
"""
EVALUATORS = ["citations_resolve", "format", "citations_support", "groundedness", "relevance"]


async def seed(database: Database, tenant: str, *, answers: int, of_conversation: int) -> None:
    """Logs so many answers, with chunks, scores and thumbs."""
    async with database.transaction(tenant=tenant) as connection:
        await connection.execute("INSERT INTO tenants VALUES ($1) ON CONFLICT DO NOTHING", tenant)
        await connection.execute(_ANSWERS, tenant, answers, of_conversation, timeout=300)
        await connection.execute(_CHUNKS, tenant, timeout=300)
        await connection.execute(_SCORES, tenant, EVALUATORS, timeout=300)
        await connection.execute(_THUMBS, tenant, timeout=300)
    for table in ("interactions", "interaction_chunks", "scores", "feedback"):
        await database.vacuum(table)
