-- Rows by tenant and by tier for every role; TIER_2 text rests sealed; the words of all tiers rest blinded.
--
-- This empties the index: what it held was readable, and its words cannot be blinded without the tenants' keys. The
-- tables are made anew rather than emptied, so that no old page is kept. Ingest's migration of the same number has it
-- that putting a document again is not "unchanged". See docs/how-to/upgrade.md.

DROP FUNCTION adopt_embedder;
DROP TABLE chunks;
TRUNCATE tallies;
TRUNCATE index_identity;

-- Versions and tombstones stay: an older version must not return. Titles and addresses are the chunks' from now on.
ALTER TABLE documents NO FORCE ROW LEVEL SECURITY;
ALTER TABLE documents RENAME TO documents_before;
ALTER INDEX documents_pkey RENAME TO documents_before_pkey;
CREATE TABLE documents (
    tenant       text NOT NULL CHECK (tenant <> ''),
    source       text NOT NULL,
    document_id  text NOT NULL,
    version      bigint NOT NULL CHECK (version >= 0),
    tier         smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    deleted      boolean NOT NULL,
    indexed_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, document_id)
);
INSERT INTO documents SELECT tenant, source, document_id, version, tier, deleted, indexed_at FROM documents_before;
DROP TABLE documents_before;

CREATE TABLE chunks (
    tenant       text NOT NULL CHECK (tenant <> ''),
    source       text NOT NULL,
    document_id  text NOT NULL,
    ordinal      integer NOT NULL,
    version      bigint NOT NULL,
    chunk_id     uuid NOT NULL,
    tier         smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    tokens       integer NOT NULL,
    labels       bytea NOT NULL,    -- headrace.retrieval.v1.ChunkReference with its labels alone, or what seals them
    text         bytea NOT NULL,    -- headrace.privacy.v1.ProtectedText, as it came
    embedding    halfvec NOT NULL,  -- in the clear, or nothing could be compared: behind the policies, gone at an erasure
    dimensions   smallint NOT NULL GENERATED ALWAYS AS (vector_dims(embedding)) STORED,
    words        tsvector NOT NULL, -- each word's keyed hash, with its places and weights
    PRIMARY KEY (tenant, source, document_id, ordinal),
    UNIQUE (tenant, chunk_id),
    FOREIGN KEY (tenant, source, document_id) REFERENCES documents,
    -- The first byte is the tag of the field that is set: 0x12 is ProtectedText.sealed, 0x62 ChunkReference.sealed_labels.
    CONSTRAINT tier_2_rests_sealed CHECK (
        tier < 3 OR (substr(text, 1, 1) = '\x12' AND (labels = '' OR substr(labels, 1, 1) = '\x62'))
    )
);
-- Searches read vectors and words of many rows and the text of a few: the text leaves the row first.
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE chunks ALTER COLUMN words SET STORAGE MAIN;
-- The planner's statistics keep samples of values, and keep them after the rows are gone: none of text and vectors.
ALTER TABLE chunks ALTER COLUMN text SET STATISTICS 0, ALTER COLUMN labels SET STATISTICS 0,
    ALTER COLUMN embedding SET STATISTICS 0;
-- A put replaces all chunks of a document, and dead ones slow an HNSW scan: vacuum at 2 % instead of 20 %.
ALTER TABLE chunks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off);  -- a pending list makes searches uneven

-- Makes the graphs for vectors of so many dimensions. For the owner of the schema: making an index takes the table's
-- owner, and nothing of the service's is its owner.
CREATE FUNCTION make_graphs(its_dimensions integer) RETURNS void
LANGUAGE plpgsql SET search_path = retriever, public, pg_temp AS $$
DECLARE
    graph text;
BEGIN
    -- A partial index for each tier: a search limited to a tier reads only that tier's graph, which keeps its recall
    -- and its speed, and never touches a stricter tier's vectors.
    FOR tier IN 1..3 LOOP
        graph := format('chunks_vectors_%s_tier_%s', its_dimensions, tier);
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON chunks
            USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)
            WHERE tier = %s AND dimensions = %s', graph, its_dimensions, tier, its_dimensions);
        EXECUTE format('ALTER INDEX %I ALTER COLUMN 1 SET STATISTICS 0', graph);
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION make_graphs FROM PUBLIC;

-- For the embedders in use. The twelve that stay empty make a put less than a tenth slower, and a search no slower;
-- other dimensions are the owner's to add.
SELECT make_graphs(dimensions) FROM unnest(ARRAY[384, 512, 768, 1024, 1536]) AS dimensions;

DROP POLICY one_tenant ON tallies;
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['documents', 'chunks', 'tallies'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO {service_role}', guarded);
    END LOOP;
END $$;
-- What a search reads.
GRANT SELECT ON chunks, tallies, index_identity TO {service_role}_tier_1, {service_role}_public;

-- Which embedder the index has is no tenant's. The first to write says, and nobody changes it but the owner.
GRANT INSERT ON index_identity TO {service_role};
ALTER TABLE index_identity ENABLE ROW LEVEL SECURITY;
ALTER TABLE index_identity FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON index_identity TO {service_role} USING (true);
CREATE POLICY for_every_search ON index_identity FOR SELECT TO {service_role}_tier_1, {service_role}_public USING (true);
