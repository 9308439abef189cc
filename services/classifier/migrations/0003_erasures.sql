-- What was to be erased, how far it is, and what came of it.

CREATE TABLE erasures (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    erasure_id uuid NOT NULL,
    scope bytea NOT NULL,                 -- headrace.privacy.v1.ErasureScope; without the subject's name once closed
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 3),        -- headrace.privacy.v1.ErasureState
    round integer NOT NULL CHECK (round > 0),
    reason text NOT NULL CHECK (char_length(reason) <= 1000),
    requested_by text NOT NULL,
    requested_role text NOT NULL,
    requested_at timestamptz NOT NULL,
    keys bigint NOT NULL CHECK (keys >= 0),                       -- data keys destroyed with the request
    due_at timestamptz,                   -- when the next round is to be announced; null: it is
    closed_at timestamptz CHECK ((closed_at IS NOT NULL) = (state = 3)),
    receipt text NOT NULL DEFAULT '',     -- a compact JWS
    receipt_text text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, erasure_id)
);
-- The same again while one is under way is that one.
CREATE UNIQUE INDEX erasures_open ON erasures (tenant, scope) WHERE state < 3;
CREATE INDEX erasures_by_request ON erasures (requested_at DESC);

CREATE TABLE erasure_reports (
    tenant text NOT NULL,
    erasure_id uuid NOT NULL,
    round integer NOT NULL,
    state smallint NOT NULL CHECK (state IN (1, 2)),              -- in which it was given: 1 applied, 2 read back
    service text NOT NULL,
    stores bytea[] NOT NULL,              -- headrace.privacy.v1.StoreReport
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, erasure_id, round, state, service),
    FOREIGN KEY (tenant, erasure_id) REFERENCES erasures ON DELETE CASCADE
);

-- Up to when a tenant's records of a tier have been looked for that the policy no longer keeps.
CREATE TABLE retention (
    tenant text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    before timestamptz NOT NULL,
    PRIMARY KEY (tenant, tier)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['erasures', 'erasure_reports', 'retention'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (current_setting(''headrace.tenant'', true) IN (tenant, ''*''))', name);
    END LOOP;
END
$$;
CREATE POLICY up_to_tier_2 ON retention AS RESTRICTIVE TO {service_role} USING (tier <= 3);

GRANT SELECT, INSERT, DELETE, UPDATE (scope, state, round, due_at, closed_at, receipt, receipt_text)
    ON erasures TO {service_role};
GRANT SELECT, INSERT ON erasure_reports TO {service_role};
GRANT SELECT, INSERT, UPDATE ON retention TO {service_role};
