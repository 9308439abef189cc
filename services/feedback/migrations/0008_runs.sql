-- Runs: questions asked again to measure variants; and what is indexed now, so that an answer can be told to be stale.

CREATE TABLE runs (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    kind smallint NOT NULL CHECK (kind IN (2, 3)),        -- headrace.query.v1.TrialKind: replay, evaluation
    dataset_id text NOT NULL,                             -- the snapshot of an evaluation; '' for a replay
    arms jsonb NOT NULL,                                  -- [[variant, version, setting], …], in order
    judges text[] NOT NULL,
    seed text NOT NULL,                                   -- in decimal: it has 64 bits without a sign
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),  -- headrace.feedback.v1.RunState
    failure text NOT NULL DEFAULT '',                     -- why it could not go on: grant_ended, denied_by_policy
    cases integer NOT NULL,
    begun integer NOT NULL DEFAULT 0,                     -- how many of cases times arms were come to, in order
    exclusions jsonb NOT NULL,                            -- [[reason, tier, cases], …]
    role text NOT NULL,                                   -- who started it, and is asked about whenever it reads
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (tenant, run_id),
    CHECK ((state = 1) = (ended_at IS NULL))
);

CREATE INDEX runs_by_time ON runs (tenant, created_at DESC);

-- Which runs are to be conducted, and by which instance until when. Of all tenants, so that any instance finds the next;
-- it holds nothing of theirs.
CREATE TABLE run_turns (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    holder uuid,                                          -- null: nobody's
    held_until timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

CREATE TABLE run_cases (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    case_id text NOT NULL,                                -- the logged query's id, or the dataset row's
    place integer NOT NULL,                               -- from 0, in the order of asking
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest of the question and what was answered of
    subject text NOT NULL,
    kind text NOT NULL,                                   -- what kind of query it is, in the tenant's words
    sources text[] NOT NULL,
    documents text[] NOT NULL,                            -- 'source/document' of all that it was answered of
    of_time timestamptz NOT NULL,                         -- when the original was answered, or the row built
    question bytea NOT NULL,                              -- headrace.query.v1.QueryClassified, its text as it rests
    reference bytea,                                      -- a dataset's row as it rests: sealed; null for a replay
    PRIMARY KEY (tenant, run_id, case_id),
    UNIQUE (tenant, run_id, place)
);

CREATE INDEX run_cases_by_case ON run_cases (tenant, case_id);
CREATE INDEX run_cases_by_subject ON run_cases (tenant, subject) WHERE subject <> '';

-- One case of one arm, from when it is asked. Its query_id is made of run, case and arm.
CREATE TABLE run_asks (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    run_id uuid NOT NULL,
    case_id text NOT NULL,
    arm smallint NOT NULL,
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),  -- 1 asked, 2 answered, 3 failed
    reason text NOT NULL DEFAULT '',                      -- of a failed one, in fixed words
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, query_id)
);

CREATE INDEX run_asks_by_run ON run_asks (tenant, run_id, state);
CREATE INDEX run_asks_by_case ON run_asks (tenant, run_id, case_id);

-- Answers that nobody was shown: of runs, and of shadows. Columns as those of interactions.
CREATE TABLE trial_answers (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    run_id text NOT NULL,                                 -- a run's id; for shadows 'shadow:' and the route's kind
    case_id text NOT NULL,                                -- for shadows the live query's id
    trial_kind smallint NOT NULL,                         -- headrace.query.v1.TrialKind
    setting smallint NOT NULL,                            -- headrace.query.v1.TrialSetting
    trace_id text NOT NULL,
    traceparent text NOT NULL,
    product text NOT NULL,
    subject text NOT NULL,
    conversation_id text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    kind text NOT NULL,
    grounding text NOT NULL,
    finish_reason text NOT NULL,
    prompt_name text NOT NULL,
    prompt_version text NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    model_provider text NOT NULL,
    variant_name text NOT NULL,
    variant_version text NOT NULL,
    backend text NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    cost_micro_usd bigint NOT NULL,
    time_to_first_token_ms double precision NOT NULL,
    timings_ms jsonb NOT NULL,                            -- by service; "total" is their sum, without the bus
    sources text[] NOT NULL,
    documents text[] NOT NULL,                            -- 'source/document' of every chunk that the model had
    accepted_at timestamptz,                              -- of the original question
    completed_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL,
    record bytea NOT NULL,                                -- headrace.query.v1.AnswerCompleted, whole, as it came
    PRIMARY KEY (tenant, query_id)
);

CREATE INDEX trial_answers_by_run ON trial_answers (tenant, run_id, case_id);
CREATE INDEX trial_answers_by_case ON trial_answers (tenant, case_id);
CREATE INDEX trial_answers_by_time ON trial_answers (tenant, completed_at);
CREATE INDEX trial_answers_by_subject ON trial_answers (tenant, subject) WHERE subject <> '';

-- What the index holds of each document, as document.indexed says.
CREATE TABLE documents (
    tenant text NOT NULL CHECK (tenant <> ''),
    source text NOT NULL,
    document_id text NOT NULL,
    version bigint NOT NULL,
    deleted boolean NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    indexed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, document_id)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['runs', 'run_cases', 'run_asks', 'trial_answers', 'documents'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['run_cases', 'trial_answers', 'documents'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;

ALTER TABLE run_turns ENABLE ROW LEVEL SECURITY;
ALTER TABLE run_turns FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON run_turns TO {service_role} USING (true);

GRANT SELECT, INSERT, UPDATE (state, failure, begun, ended_at) ON runs TO {service_role};
GRANT SELECT, INSERT, UPDATE (holder, held_until), DELETE ON run_turns TO {service_role};
GRANT SELECT, INSERT, DELETE ON run_cases, trial_answers TO {service_role};
GRANT SELECT, INSERT, UPDATE (state, reason), DELETE ON run_asks TO {service_role};
GRANT SELECT, INSERT, UPDATE (version, deleted, tier, indexed_at), DELETE ON documents TO {service_role};
