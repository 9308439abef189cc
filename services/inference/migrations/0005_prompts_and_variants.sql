-- A tenant's own prompts and variants. What comes with Headrace stays in `prompts` and `variants`, without a tenant. All of
-- it is developers' own words: TIER_1.

-- A version never changes.
CREATE TABLE tenant_prompts (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    name text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,64}$'),
    version integer NOT NULL CHECK (version > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    content bytea NOT NULL,               -- headrace.inference.v1.Prompt
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),  -- of what the model is shown
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, version),
    UNIQUE (tenant, name, sha256)         -- what is stored already keeps its version
);

-- Every move of a label, of a tenant's prompt or of one that comes with Headrace; the last one holds.
CREATE TABLE prompt_labels (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    name text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,64}$'),
    label text NOT NULL CHECK (label ~ '^[a-z0-9_-]{1,32}$'),
    move integer NOT NULL CHECK (move > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    version integer NOT NULL CHECK (version >= 0),  -- 0: taken away
    reason text NOT NULL CHECK (length(reason) <= 500),
    moved_by text NOT NULL,
    moved_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, label, move)
);

-- A version never changes.
CREATE TABLE tenant_variants (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    name text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,64}$'),
    version integer NOT NULL CHECK (version > 0),
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 3),
    content bytea NOT NULL,               -- headrace.inference.v1.Variant
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenant_prompts', 'prompt_labels', 'tenant_variants'] LOOP
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

-- Not only the house's own variants answer.
ALTER TABLE answers DROP CONSTRAINT answers_variant_variant_version_fkey;
