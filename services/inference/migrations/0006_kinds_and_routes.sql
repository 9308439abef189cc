-- What kinds of query a tenant has, and who answers which. All of it is developers' own words: TIER_1.

-- A version of a tenant's kinds never changes; the newest is in force.
CREATE TABLE kinds (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    version integer NOT NULL CHECK (version > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    content bytea NOT NULL,               -- headrace.inference.v1.PutKindsRequest
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, version)
);

-- The vectors of their examples, one row for each embedder that was asked. Vectors of two are never compared.
CREATE TABLE kind_vectors (
    tenant text NOT NULL,
    version integer NOT NULL,
    embedder_hash text NOT NULL,
    embedder text NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    texts_hash bytea NOT NULL CHECK (octet_length(texts_hash) = 32),  -- of what was embedded, the background included
    vectors bytea NOT NULL,               -- texts × dimensions numbers, little-endian single precision
    made_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, version, embedder_hash),
    FOREIGN KEY (tenant, version) REFERENCES kinds (tenant, version)
);

-- A version of a route never changes; of each kind the newest is in force, and when that is a deletion none is.
CREATE TABLE routes (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    kind text NOT NULL CHECK (kind ~ '^([a-z0-9_-]{1,64}|\*)$'),
    version integer NOT NULL CHECK (version > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    content bytea NOT NULL,               -- headrace.inference.v1.Route
    deleted boolean NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, version)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['kinds', 'kind_vectors', 'routes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (tenant = NULLIF(current_setting(''headrace.tenant'', true), ''''))', name);
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', name);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1 USING (tier BETWEEN 1 AND 2)', name);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public USING (tier = 1)', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO {service_role}', name);
    END LOOP;
END
$$;

-- Another release may embed other texts beside the examples.
GRANT UPDATE (texts_hash, vectors, made_at) ON kind_vectors TO {service_role};

-- How an answer came to be, and what it cost: the day's spending of a route is summed from here, over all instances.
ALTER TABLE answers
    ADD COLUMN kind text NOT NULL DEFAULT 'other',
    ADD COLUMN route text NOT NULL DEFAULT '',          -- '': the default of the house
    ADD COLUMN route_version integer NOT NULL DEFAULT 0,
    ADD COLUMN backend text NOT NULL DEFAULT '',        -- '': no model wrote
    ADD COLUMN cost_micro_usd bigint NOT NULL DEFAULT 0 CHECK (cost_micro_usd >= 0),
    ADD COLUMN trial boolean NOT NULL DEFAULT false;    -- answered to measure a variant, and shown to nobody
CREATE INDEX answers_by_route ON answers (tenant, route, completed_at) WHERE cost_micro_usd > 0;
ALTER TABLE answers DROP CONSTRAINT answers_grounding_check;
ALTER TABLE answers ADD CONSTRAINT answers_grounding_check
    CHECK (grounding IN ('grounded', 'extracted', 'not_in_sources', 'unchecked'));  -- unchecked: only ever in a trial
