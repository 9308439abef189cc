-- Snapshots: what is in each, whose it is, and who took a copy. No word of theirs is here; the rows rest sealed elsewhere.

CREATE TABLE snapshots (
    tenant text NOT NULL CHECK (tenant <> ''),
    dataset_id text NOT NULL CHECK (dataset_id ~ '^[0-9a-f]{64}$'),  -- SHA-256 of the manifest
    name text NOT NULL CHECK (name <> ''),                -- the series
    purpose smallint NOT NULL,                            -- headrace.privacy.v1.Purpose
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),  -- headrace.feedback.v1.DatasetState
    ended_by text NOT NULL DEFAULT '',                    -- 'grant GRANT', 'erasure ERASURE'
    ended_at timestamptz,
    is_told boolean NOT NULL DEFAULT true,                -- false: its end has not been published yet
    query bytea NOT NULL,                                 -- headrace.feedback.v1.DatasetQuery; '' for imported rows
    seed text NOT NULL,                                   -- in decimal: it has 64 bits without a sign
    rows integer NOT NULL CHECK (rows > 0),
    test_rows integer NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest in it
    kinds jsonb NOT NULL,                                 -- rows by kind
    tiers jsonb NOT NULL,                                 -- rows by tier
    grants text[] NOT NULL,                               -- that it stands on
    exclusions jsonb NOT NULL,                            -- [[reason, tier, rows], …]
    card bytea NOT NULL,                                  -- headrace.feedback.v1.DatasetCard: numbers
    policy_version text NOT NULL,
    data_sha256 text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, dataset_id),
    CHECK ((state IN (2, 3)) = (ended_at IS NOT NULL))
);

CREATE INDEX snapshots_by_time ON snapshots (tenant, created_at DESC);
CREATE INDEX snapshots_by_name ON snapshots (tenant, name, created_at DESC);
CREATE INDEX snapshots_by_grant ON snapshots USING gin (grants);

-- Grants that have ended: a snapshot that was under way meanwhile must not stand on one.
CREATE TABLE ended_grants (
    tenant text NOT NULL CHECK (tenant <> ''),
    grant_id text NOT NULL,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, grant_id)
);

-- Which row of which snapshot is whose, and of which documents: what an erasure looks for. It goes with the snapshot's rows.
CREATE TABLE snapshot_rows (
    tenant text NOT NULL CHECK (tenant <> ''),
    dataset_id text NOT NULL,
    row_id text NOT NULL,                                 -- the query's id, or the imported row's
    subject bytea NOT NULL,                               -- keyed hash of the end user; '' where nobody was named
    sources text[] NOT NULL,
    documents text[] NOT NULL,                            -- 'source/document'
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    asked_at timestamptz NOT NULL,
    completed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, dataset_id, row_id),
    FOREIGN KEY (tenant, dataset_id) REFERENCES snapshots ON DELETE CASCADE
);

CREATE INDEX snapshot_rows_by_row ON snapshot_rows (tenant, row_id);
CREATE INDEX snapshot_rows_by_subject ON snapshot_rows (tenant, subject) WHERE subject <> '';

-- Who read a snapshot in the clear. What was read is out of reach: a receipt of an erasure says so.
CREATE TABLE exports (
    tenant text NOT NULL CHECK (tenant <> ''),
    export_id uuid NOT NULL,
    dataset_id text NOT NULL,
    role text NOT NULL,
    read_by text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,                                 -- null: it broke off, or goes on
    rows integer NOT NULL DEFAULT 0,                      -- handed out so far
    grants text[] NOT NULL DEFAULT '{}',                  -- under which
    PRIMARY KEY (tenant, export_id),
    FOREIGN KEY (tenant, dataset_id) REFERENCES snapshots ON DELETE CASCADE
);

CREATE INDEX exports_by_dataset ON exports (tenant, dataset_id);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['snapshots', 'snapshot_rows', 'exports', 'ended_grants'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    FOREACH guarded IN ARRAY ARRAY['snapshots', 'snapshot_rows'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;

GRANT SELECT, INSERT, DELETE, UPDATE (state, ended_by, ended_at, is_told, data_sha256)
    ON snapshots TO {service_role};
GRANT SELECT, INSERT, DELETE ON snapshot_rows TO {service_role};
GRANT SELECT, INSERT ON ended_grants TO {service_role};
GRANT SELECT, INSERT, DELETE, UPDATE (ended_at, rows, grants) ON exports TO {service_role};
