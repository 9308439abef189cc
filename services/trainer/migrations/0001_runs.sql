-- Training runs, what started them, and how the loop decides. No word of a row is here: ids, names, counts and numbers.

-- By tenant, '*' for everybody: who has paused the loop, and when the schedule starts the next run. Of all tenants, so
-- that a pause of everybody holds for each, and any instance finds the next run of the schedule.
CREATE TABLE loops (
    tenant text PRIMARY KEY CHECK (tenant <> ''),
    paused_at timestamptz,                                -- null: it is not
    paused_by text NOT NULL DEFAULT '',
    paused_because text NOT NULL DEFAULT '',
    next_scheduled_at timestamptz                         -- null: no schedule
);

CREATE TABLE loop_rules (
    tenant text NOT NULL CHECK (tenant <> ''),
    version integer NOT NULL CHECK (version > 0),
    rules jsonb NOT NULL,                                 -- headrace.training.v1.LoopRules, all numbers filled in
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, version)
);

CREATE TABLE runs (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    target smallint NOT NULL CHECK (target BETWEEN 1 AND 3),        -- headrace.training.v1.Target
    wanted text NOT NULL,                                 -- the snapshot that was asked for; '' has one built by `query`
    query bytea NOT NULL,                                 -- headrace.feedback.v1.DatasetQuery; it names no subject
    base_name text NOT NULL,
    base_version text NOT NULL,
    recipe jsonb NOT NULL,
    seed text NOT NULL,                                   -- in decimal: it has 64 bits without a sign
    causes smallint[] NOT NULL,                           -- headrace.training.v1.Cause, the first one first
    because text[] NOT NULL,                              -- 'alert ID', 'erasure ID', 'document SOURCE/ID'
    traceparent text NOT NULL,                            -- of the first cause: all of the run's spans hang there
    role text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    begin_at timestamptz NOT NULL,                        -- not before: it waits for more causes
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 8),          -- headrace.training.v1.RunState
    dataset_id text NOT NULL DEFAULT '',
    dataset_tier smallint NOT NULL DEFAULT 3,
    grants text[] NOT NULL DEFAULT '{}',
    rows integer NOT NULL DEFAULT 0,
    held_out_rows integer NOT NULL DEFAULT 0,
    without_grant integer NOT NULL DEFAULT 0,
    step integer NOT NULL DEFAULT 0,
    steps integer NOT NULL DEFAULT 0,
    loss double precision NOT NULL DEFAULT 0,
    held_out_loss double precision NOT NULL DEFAULT 0,
    tokens bigint NOT NULL DEFAULT 0,
    tokens_a_second double precision NOT NULL DEFAULT 0,
    compute_seconds double precision NOT NULL DEFAULT 0,  -- of all attempts
    attempts integer NOT NULL DEFAULT 0,                  -- of training: counted before the worker starts
    made jsonb,                                           -- what training made; null until it has
    model text NOT NULL DEFAULT '',
    failure text NOT NULL DEFAULT '',                     -- in fixed words
    begun_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant, run_id),
    CHECK ((state IN (4, 5, 6, 7)) = (ended_at IS NOT NULL))
);

CREATE INDEX runs_by_time ON runs (tenant, created_at DESC);
CREATE INDEX runs_by_dataset ON runs (tenant, dataset_id) WHERE dataset_id <> '';
-- Two at once become one, and one at a time is under way.
CREATE UNIQUE INDEX one_run_waits ON runs (tenant, target) WHERE state = 1;
CREATE UNIQUE INDEX one_run_is_under_way ON runs (tenant, target) WHERE state IN (2, 3, 8);

-- Which runs are to be conducted, and by which instance until when; one that waits is nobody's until it may begin. Of
-- all tenants, so that any instance finds the next; it holds nothing of theirs.
CREATE TABLE run_turns (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    holder uuid,                                          -- null: nobody's
    held_until timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

-- What asks for runs. One without a run is held until something else starts one: missing documents.
CREATE TABLE causes (
    tenant text NOT NULL CHECK (tenant <> ''),
    cause_id uuid NOT NULL,                               -- made of what caused it, so that a replay adds none
    target smallint NOT NULL CHECK (target BETWEEN 1 AND 3),
    cause smallint NOT NULL CHECK (cause BETWEEN 1 AND 5),
    because text[] NOT NULL,
    traceparent text NOT NULL,
    run_id uuid,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, cause_id)
);

CREATE INDEX causes_held ON causes (tenant, target, added_at) WHERE run_id IS NULL;

CREATE TABLE run_points (
    tenant text NOT NULL CHECK (tenant <> ''),
    run_id uuid NOT NULL,
    step integer NOT NULL,
    loss double precision NOT NULL,
    held_out_loss double precision NOT NULL,              -- 0: not measured there
    PRIMARY KEY (tenant, run_id, step)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['loop_rules', 'runs', 'causes', 'run_points'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['loops', 'run_turns'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY of_the_service ON %I TO {service_role} USING (true)', guarded);
    END LOOP;
END $$;

GRANT SELECT, INSERT, UPDATE ON loops TO {service_role};
GRANT SELECT, INSERT ON loop_rules TO {service_role};
GRANT SELECT, INSERT, UPDATE ON runs TO {service_role};
GRANT SELECT, INSERT, UPDATE (holder, held_until), DELETE ON run_turns TO {service_role};
GRANT SELECT, INSERT, UPDATE (run_id), DELETE ON causes TO {service_role};
GRANT SELECT, INSERT, UPDATE (loss, held_out_loss), DELETE ON run_points TO {service_role};
