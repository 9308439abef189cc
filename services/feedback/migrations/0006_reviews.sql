-- What experts look at: rubrics, which answers come into the queue, who holds them, and how they were labelled.

CREATE TABLE rubrics (
    tenant text NOT NULL CHECK (tenant <> ''),
    name text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    content bytea NOT NULL,               -- headrace.feedback.v1.Rubric: instructions and criteria
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

CREATE TABLE sampling (
    tenant text PRIMARY KEY CHECK (tenant <> ''),
    content bytea NOT NULL,               -- headrace.feedback.v1.PutSamplingRequest
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE review_items (
    tenant text NOT NULL CHECK (tenant <> ''),
    item_id uuid NOT NULL,
    query_id uuid NOT NULL,
    reasons smallint[] NOT NULL,          -- headrace.feedback.v1.SamplingReason, rising; empty: somebody asked for it
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the interaction's; what is shown may be stricter
    kind text NOT NULL,
    rubric text NOT NULL,
    rubric_version integer NOT NULL,
    reviewers smallint NOT NULL CHECK (reviewers BETWEEN 1 AND 5),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, item_id),
    UNIQUE (tenant, query_id),
    FOREIGN KEY (tenant, query_id) REFERENCES interactions ON DELETE CASCADE
);

CREATE INDEX review_items_by_time ON review_items (tenant, created_at);

CREATE TABLE review_claims (
    tenant text NOT NULL,
    item_id uuid NOT NULL,
    reviewer text NOT NULL,
    claimed_until timestamptz NOT NULL,
    PRIMARY KEY (tenant, item_id, reviewer),
    FOREIGN KEY (tenant, item_id) REFERENCES review_items ON DELETE CASCADE
);

-- History is kept: of one reviewer's labels for one answer the last ones count.
CREATE TABLE review_labels (
    tenant text NOT NULL,
    label_id uuid NOT NULL,
    item_id uuid NOT NULL,
    query_id uuid NOT NULL,
    reviewer text NOT NULL,
    rubric text NOT NULL,
    rubric_version integer NOT NULL,
    labels jsonb NOT NULL,                -- by criterion
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the stricter of the answer's and of the comment's
    comment bytea,                        -- headrace.privacy.v1.ProtectedText, always sealed
    labelled_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, label_id),
    FOREIGN KEY (tenant, item_id) REFERENCES review_items ON DELETE CASCADE
);

CREATE INDEX review_labels_by_item ON review_labels (tenant, item_id, reviewer, labelled_at DESC);
CREATE INDEX review_labels_by_rubric ON review_labels (tenant, rubric, rubric_version);

-- Which words a tenant's questions have had, by keyed hash: whose word it was is not known here.
CREATE TABLE vocabulary (
    tenant text NOT NULL CHECK (tenant <> ''),
    word bytea NOT NULL CHECK (octet_length(word) = 16),
    PRIMARY KEY (tenant, word)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['rubrics', 'sampling', 'review_items', 'review_claims', 'review_labels',
            'vocabulary'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['review_items', 'review_labels'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON rubrics TO {service_role};
GRANT SELECT, INSERT, UPDATE (content, changed_by, changed_at) ON sampling TO {service_role};
GRANT SELECT, INSERT, UPDATE (reasons), DELETE ON review_items TO {service_role};
GRANT SELECT, INSERT, UPDATE (claimed_until), DELETE ON review_claims TO {service_role};
GRANT SELECT, INSERT, DELETE ON review_labels TO {service_role};
GRANT SELECT, INSERT ON vocabulary TO {service_role};
