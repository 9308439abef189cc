-- Answers measured: what is to be measured, with which judges, and what came of it. Numbers, names and ids only; what is
-- measured is read where it rests.

-- Which share of live answers is measured. No row: only what needs no text.
CREATE TABLE evaluation_settings (
    tenant text PRIMARY KEY CHECK (tenant <> ''),
    share double precision NOT NULL CHECK (share BETWEEN 0 AND 1),
    judges text[] NOT NULL,                               -- by name; the newest version of each judges
    judged_share double precision NOT NULL CHECK (judged_share BETWEEN 0 AND 1),  -- of those sampled
    set_by text NOT NULL,
    set_at timestamptz NOT NULL
);

-- What waits to be measured. Of all tenants, so that any instance finds the next; it holds nothing of theirs but ids.
CREATE TABLE evaluation_tasks (
    tenant text NOT NULL CHECK (tenant <> ''),
    task_id uuid NOT NULL,                                -- made of the rest, so that it is put once
    query_id uuid NOT NULL,                               -- the answer; of a pair the first
    against uuid,                                         -- of a pair the second
    run_id text NOT NULL,                                 -- '' for live traffic; of shadows 'shadow:' and the route's kind
    case_id text NOT NULL,                                -- '' for live traffic
    depth smallint NOT NULL CHECK (depth IN (1, 2)),      -- 1: by counts; 2: by its words too
    judges text[] NOT NULL,
    attempts integer NOT NULL DEFAULT 0,                  -- counted before the work
    due_at timestamptz NOT NULL DEFAULT now(),            -- nobody takes it before; of one that is held the lease's end
    holder uuid,                                          -- the instance that works at it
    put_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, task_id)
);

CREATE INDEX evaluation_tasks_due ON evaluation_tasks (due_at);
CREATE INDEX evaluation_tasks_by_query ON evaluation_tasks (tenant, query_id);
CREATE INDEX evaluation_tasks_by_run ON evaluation_tasks (tenant, run_id) WHERE run_id <> '';

CREATE TABLE scores (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    run_id text NOT NULL,                                 -- '' for live traffic
    evaluator text NOT NULL,                              -- 'groundedness', …, or 'judge:NAME'
    version text NOT NULL,
    rubric text NOT NULL,                                 -- '' but for a judge
    rubric_version integer NOT NULL,
    criterion text NOT NULL,                              -- '' but for a judge
    value double precision NOT NULL,                      -- 0 to 1; seconds of 'latency'; millionths of a dollar of 'cost'
    label text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the answer's
    decides boolean NOT NULL,                             -- false for a judge that was not calibrated then
    votes smallint NOT NULL DEFAULT 0,                    -- of a judge: how many could be read,
    unread smallint NOT NULL DEFAULT 0,                   -- and how many could not
    scored_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, query_id, run_id, evaluator, version, rubric, rubric_version, criterion)
);

CREATE INDEX scores_by_run ON scores (tenant, run_id) WHERE run_id <> '';
CREATE INDEX scores_by_time ON scores (tenant, scored_at);

-- Two answers to one case, compared by a judge that saw them both ways round.
CREATE TABLE pair_scores (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id text NOT NULL,
    case_id text NOT NULL,
    arm_a uuid NOT NULL,                                  -- the answers, by their query's id; A is the baseline
    arm_b uuid NOT NULL,
    judge text NOT NULL,
    version integer NOT NULL,
    rubric text NOT NULL,
    rubric_version integer NOT NULL,
    criterion text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('a', 'b', 'same')),  -- what does not survive the swap is 'same'
    preference double precision NOT NULL CHECK (preference BETWEEN 0 AND 1),  -- 0: all votes for A; 1: all for B
    a_first smallint[] NOT NULL,                          -- votes with A shown first: 1 the first, -1 the second, 0 neither
    b_first smallint[] NOT NULL,
    unread smallint NOT NULL,                             -- votes that could not be read
    length_a integer NOT NULL,                            -- characters
    length_b integer NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    decides boolean NOT NULL,
    scored_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id, case_id, arm_a, arm_b, judge, version, criterion)
);

CREATE INDEX pair_scores_by_first ON pair_scores (tenant, arm_a);
CREATE INDEX pair_scores_by_second ON pair_scores (tenant, arm_b);

CREATE TABLE judges (
    tenant text NOT NULL CHECK (tenant <> ''),
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    backend text NOT NULL,                                -- '' for inference's default
    rubric text NOT NULL,
    rubric_version integer NOT NULL,
    mode text NOT NULL CHECK (mode IN ('single', 'pairwise')),
    votes integer NOT NULL CHECK (votes BETWEEN 1 AND 15 AND votes % 2 = 1),
    max_output_tokens integer NOT NULL CHECK (max_output_tokens BETWEEN 1 AND 1024),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

-- Every calibration; the last of a version counts.
CREATE TABLE calibrations (
    tenant text NOT NULL CHECK (tenant <> ''),
    judge text NOT NULL,
    version integer NOT NULL,
    calibrated_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('calibrated', 'below', 'too_few')),
    agreement jsonb NOT NULL,                             -- by criterion: answers, raw, coefficient, low, high, method, defined
    first_position_rate double precision NOT NULL,
    length_effect double precision NOT NULL,
    unread integer NOT NULL,                              -- votes that could not be read
    model_name text NOT NULL,
    model_version text NOT NULL,
    model_provider text NOT NULL,
    took_seconds double precision NOT NULL,
    calibrated_by text NOT NULL,
    PRIMARY KEY (tenant, judge, version, calibrated_at)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['evaluation_settings', 'scores', 'pair_scores', 'judges', 'calibrations'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['scores', 'pair_scores'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;

ALTER TABLE evaluation_tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE evaluation_tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON evaluation_tasks TO {service_role} USING (true);

GRANT SELECT, INSERT, UPDATE (share, judges, judged_share, set_by, set_at) ON evaluation_settings TO {service_role};
GRANT SELECT, INSERT, UPDATE (attempts, due_at, holder), DELETE ON evaluation_tasks TO {service_role};
GRANT SELECT, INSERT, DELETE ON scores, pair_scores TO {service_role};
GRANT SELECT, INSERT ON judges, calibrations TO {service_role};
