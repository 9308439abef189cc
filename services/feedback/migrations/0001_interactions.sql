-- Every interaction with all that made it, and what people thought of it.
-- The tenant is in every key: a key without it would tell one tenant what another has.

-- Who has interactions at all. Holds no data of theirs, so that a tally over everybody can go tenant by tenant.
CREATE TABLE tenants (
    tenant text PRIMARY KEY CHECK (tenant <> '')
);

CREATE TABLE interactions (
    tenant text NOT NULL REFERENCES tenants,
    query_id uuid NOT NULL,
    trace_id text NOT NULL,               -- 32 hex digits; '' when the query was not traced
    traceparent text NOT NULL,            -- W3C context of the answer's event, for later spans to link to
    answer_event_id uuid NOT NULL,        -- the event that this row was stored from
    product text NOT NULL,
    subject text NOT NULL,
    conversation_id text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- 1 public, 2 tier_1, 3 tier_2
    grounding text NOT NULL,              -- grounded, extracted, not_in_sources, unspecified
    finish_reason text NOT NULL,
    prompt_name text NOT NULL,
    prompt_version text NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    model_provider text NOT NULL,
    variant_name text NOT NULL,
    variant_version text NOT NULL,
    embedder_name text NOT NULL,
    embedder_hash text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    cost_micro_usd bigint NOT NULL,
    time_to_first_token_ms double precision NOT NULL,
    timings_ms jsonb NOT NULL,            -- milliseconds by service, and "total"
    accepted_at timestamptz,
    completed_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL,
    record bytea NOT NULL,                -- headrace.query.v1.AnswerCompleted, whole
    PRIMARY KEY (tenant, query_id)
);

CREATE INDEX interactions_by_trace ON interactions (tenant, trace_id) WHERE trace_id <> '';
CREATE INDEX interactions_by_completion ON interactions (tenant, completed_at);

-- Lineage: which answers used which chunk of which version of which document.
CREATE TABLE interaction_chunks (
    tenant text NOT NULL,
    query_id uuid NOT NULL,
    chunk_id text NOT NULL,
    document_version bigint NOT NULL,
    source text NOT NULL,
    document_id text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    rank integer NOT NULL,                -- its place among the retrieved, from 1
    citation integer NOT NULL,            -- its number in the answer; 0 when it is not cited
    PRIMARY KEY (tenant, query_id, chunk_id),
    FOREIGN KEY (tenant, query_id) REFERENCES interactions ON DELETE CASCADE
);

CREATE INDEX interaction_chunks_by_document ON interaction_chunks (tenant, source, document_id);
CREATE INDEX interaction_chunks_by_chunk ON interaction_chunks (tenant, chunk_id);

-- No foreign key to interactions: feedback may come before the answer, and waits (joined_at is null) until it is there.
CREATE TABLE feedback (
    tenant text NOT NULL CHECK (tenant <> ''),
    feedback_id uuid NOT NULL,
    query_id uuid,                        -- as submitted; from the interaction once it is joined
    trace_id text NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('thumb', 'rating', 'comment', 'correction')),
    score smallint NOT NULL,              -- thumb: 1 or -1; rating: 1 to 5; words: 0
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the interaction's; 3 until it is known
    submitted_at timestamptz,
    recorded_at timestamptz NOT NULL,
    joined_at timestamptz,
    record bytea NOT NULL,                -- headrace.feedback.v1.FeedbackSubmitted, whole
    PRIMARY KEY (tenant, feedback_id),
    CHECK (query_id IS NOT NULL OR (trace_id <> '' AND joined_at IS NULL))
);

CREATE INDEX feedback_by_query ON feedback (tenant, query_id);
CREATE INDEX feedback_waiting_by_trace ON feedback (tenant, trace_id) WHERE joined_at IS NULL;

-- A transaction sees the rows of the tenant that it named, and none when it named nobody: after a commit the setting
-- reads '', not null.
ALTER TABLE interactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE interaction_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE feedback ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON interactions USING (tenant = current_setting('headrace.tenant', true));
CREATE POLICY tenant ON interaction_chunks USING (tenant = current_setting('headrace.tenant', true));
CREATE POLICY tenant ON feedback USING (tenant = current_setting('headrace.tenant', true));

-- What is logged is not changed; feedback is, once, when it finds its interaction.
GRANT SELECT, INSERT ON tenants, interactions, interaction_chunks TO {service_role};
GRANT SELECT, INSERT, UPDATE (query_id, trace_id, tier, joined_at) ON feedback TO {service_role};
