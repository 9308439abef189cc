-- Models that were trained, what became of them, and what is seen of canaries. Names, numbers and addresses; no words.

CREATE TABLE models (
    tenant text NOT NULL CHECK (tenant <> ''),
    model text NOT NULL,                                  -- 'NAME@VERSION'
    target smallint NOT NULL CHECK (target BETWEEN 1 AND 3),        -- headrace.training.v1.Target
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),          -- headrace.training.v1.ModelState
    answers boolean NOT NULL,                             -- whether it is the one that answers: live, and not standing by
    run_id uuid NOT NULL,
    dataset_id text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest that it learned from
    registered_at timestamptz NOT NULL,
    record jsonb NOT NULL,                                -- all of it, the above included
    PRIMARY KEY (tenant, model)
);

CREATE UNIQUE INDEX models_by_run ON models (tenant, run_id);
CREATE INDEX models_by_time ON models (tenant, registered_at DESC);
CREATE INDEX models_by_dataset ON models (tenant, dataset_id);
CREATE UNIQUE INDEX one_canary ON models (tenant, target) WHERE state = 2;
CREATE UNIQUE INDEX one_answers ON models (tenant, target) WHERE answers;

-- Which models need looking after, from when on, and by which instance until when. Of all tenants, so that any instance
-- finds the next, and sees whose answers to count; it holds nothing of theirs.
CREATE TABLE model_turns (
    tenant text NOT NULL CHECK (tenant <> ''),
    model text NOT NULL,
    is_watched boolean NOT NULL,                          -- whether answers of it are counted, or the first is awaited
    due_at timestamptz NOT NULL,
    holder uuid,                                          -- null: nobody's
    held_until timestamptz NOT NULL,
    PRIMARY KEY (tenant, model)
);

CREATE INDEX model_turns_by_time ON model_turns (due_at);

-- What came of queries that were given to a canary or to the champion beside it. Gone when the canary is.
CREATE TABLE canary_answers (
    tenant text NOT NULL CHECK (tenant <> ''),
    model text NOT NULL,                                  -- the canary
    query_id uuid NOT NULL,
    place bigint GENERATED ALWAYS AS IDENTITY,            -- the order in which they came
    is_canary boolean NOT NULL,
    failed boolean NOT NULL,
    grounded boolean NOT NULL,
    refused boolean NOT NULL,
    too_slow boolean NOT NULL,                            -- passed over for the time that it would take
    latency_ms double precision,                          -- of the model's service; null where another one wrote
    PRIMARY KEY (tenant, model, query_id)
);

CREATE INDEX canary_answers_by_place ON canary_answers (tenant, model, place);

-- Thumbs since a canary began, of whichever query: the answer's event may come after its thumb's.
CREATE TABLE canary_thumbs (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    place bigint GENERATED ALWAYS AS IDENTITY,
    up boolean NOT NULL,
    PRIMARY KEY (tenant, query_id)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['models', 'canary_answers', 'canary_thumbs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
END $$;

CREATE POLICY up_to_tier_2 ON models AS RESTRICTIVE TO {service_role} USING (tier <= 3);

ALTER TABLE model_turns ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_turns FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON model_turns TO {service_role} USING (true);

GRANT SELECT, INSERT, UPDATE (state, answers, record) ON models TO {service_role};
GRANT SELECT, INSERT, UPDATE (is_watched, due_at, holder, held_until), DELETE ON model_turns TO {service_role};
GRANT SELECT, INSERT, DELETE ON canary_answers TO {service_role};
GRANT SELECT, INSERT, UPDATE (up), DELETE ON canary_thumbs TO {service_role};
