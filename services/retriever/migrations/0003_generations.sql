-- Indexes of the tenants' own embedders, beside the house's: see docs/adr/0018-a-trained-embedder-beside-the-houses.md.

-- Who ever had an embedder of its own: what fills indexes has to know whom to look at, and sees one tenant at a time.
CREATE TABLE tenants (
    tenant text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9_-]{1,64}$')
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON tenants TO {service_role} USING (true);
GRANT SELECT, INSERT ON tenants TO {service_role};

-- A generation is one embedder's vectors of all the tenant's chunks. The house's own is chunks.embedding, and has no row:
-- it answers where none is live.
CREATE TABLE generations (
    tenant       text NOT NULL REFERENCES tenants,
    generation   integer NOT NULL CHECK (generation > 0),  -- counts a tenant's from 1
    model        text NOT NULL CHECK (model ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}@[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    address      text NOT NULL,            -- of the weights, by fsspec
    files        jsonb NOT NULL,           -- SHA-256 by name
    state        text NOT NULL CHECK (state IN ('preparing', 'ready', 'live', 'standing_by', 'gone')),
    dimensions   integer CHECK (dimensions BETWEEN 1 AND 4000),  -- null until the first vector was made
    hash         text,                     -- as of index_identity; null until then
    failure      text NOT NULL DEFAULT '', -- what keeps it from being filled; '' while nothing does
    prepared_at  timestamptz NOT NULL,
    ready_at     timestamptz,              -- when every chunk had its vector for the first time
    changed_at   timestamptz NOT NULL,     -- when it came to its state
    PRIMARY KEY (tenant, generation),
    UNIQUE (tenant, model),
    CHECK ((dimensions IS NULL) = (hash IS NULL))
);
-- Whatever the service does: one answers, and one stands by, at the most.
CREATE UNIQUE INDEX generations_live ON generations (tenant) WHERE state = 'live';
CREATE UNIQUE INDEX generations_standing_by ON generations (tenant) WHERE state = 'standing_by';

-- Vectors by the tenants' own embedders. A chunk's go with it: at a put, a deletion, an erasure.
CREATE TABLE trained_vectors (
    tenant      text NOT NULL CHECK (tenant <> ''),
    generation  integer NOT NULL,
    chunk_id    uuid NOT NULL,  -- made of the document's version too: a vector never outlives the words that it is of
    source      text NOT NULL,
    tier        smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    embedding   halfvec NOT NULL,
    PRIMARY KEY (tenant, generation, chunk_id),
    FOREIGN KEY (tenant, generation) REFERENCES generations,
    FOREIGN KEY (tenant, chunk_id) REFERENCES chunks (tenant, chunk_id) ON DELETE CASCADE
);
CREATE INDEX trained_vectors_of_chunk ON trained_vectors (tenant, chunk_id);
-- As of chunks: read without leaving the row, vacuumed early, and no sample of a vector kept by the planner.
ALTER TABLE trained_vectors ALTER COLUMN embedding SET STORAGE MAIN, ALTER COLUMN embedding SET STATISTICS 0;
ALTER TABLE trained_vectors SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['generations', 'trained_vectors'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
END $$;
CREATE POLICY up_to_tier_2 ON trained_vectors AS RESTRICTIVE TO {service_role} USING (tier <= 3);
CREATE POLICY up_to_tier_1 ON trained_vectors AS RESTRICTIVE TO {service_role}_tier_1 USING (tier BETWEEN 1 AND 2);
CREATE POLICY up_to_public ON trained_vectors AS RESTRICTIVE TO {service_role}_public USING (tier = 1);
GRANT SELECT, INSERT, UPDATE ON generations TO {service_role};
GRANT SELECT, INSERT, DELETE ON trained_vectors TO {service_role};
-- What a search reads.
GRANT SELECT ON generations, trained_vectors TO {service_role}_tier_1, {service_role}_public;
