-- The search index: documents, their chunks with vectors and words, and which embedder made the vectors.
--
-- The extension `vector` is in public already (making it takes a superuser). Every key begins with the tenant, so that
-- no key can tell one tenant what another has.

-- Whose vectors these are. No row: nothing was indexed yet. Never more than one row.
CREATE TABLE index_identity (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    name        text NOT NULL CHECK (name <> ''),
    dimensions  integer NOT NULL CHECK (dimensions BETWEEN 1 AND 4000),  -- 4,000: what pgvector's HNSW takes as halfvec
    hash        text NOT NULL,
    adopted_at  timestamptz NOT NULL DEFAULT now()
);

-- The latest version of each document. A deleted one stays as a tombstone, so that an older version cannot return.
CREATE TABLE documents (
    tenant       text NOT NULL CHECK (tenant <> ''),
    source       text NOT NULL,
    document_id  text NOT NULL,
    version      bigint NOT NULL CHECK (version >= 0),
    title        text NOT NULL,
    uri          text NOT NULL,
    tier         smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    deleted      boolean NOT NULL,
    indexed_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, document_id)
);

CREATE TABLE chunks (
    tenant       text NOT NULL CHECK (tenant <> ''),
    source       text NOT NULL,
    document_id  text NOT NULL,
    ordinal      integer NOT NULL,
    version      bigint NOT NULL,
    chunk_id     uuid NOT NULL,
    tier         smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    tokens       integer NOT NULL,
    headings     text[] NOT NULL,
    text         text NOT NULL,
    embedding    halfvec NOT NULL,  -- the dimensions are the adopted embedder's: adopt_embedder makes the index for them
    words        tsvector NOT NULL,
    PRIMARY KEY (tenant, source, document_id, ordinal),
    UNIQUE (tenant, chunk_id),
    FOREIGN KEY (tenant, source, document_id) REFERENCES documents
);
-- Searches read vectors and words of many rows and the text of a few: the text leaves the row first.
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE chunks ALTER COLUMN words SET STORAGE MAIN;
-- A put replaces all chunks of a document, and dead ones slow an HNSW scan: vacuum at 2 % instead of 20 %.
ALTER TABLE chunks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off);  -- a pending list makes searches uneven

-- How many chunks a search may see, to choose between an exact scan and HNSW without counting. Sixteen shards by
-- document, since the writers of one source would otherwise wait for each other's commits.
CREATE TABLE tallies (
    tenant  text NOT NULL CHECK (tenant <> ''),
    source  text NOT NULL,
    tier    smallint NOT NULL,
    shard   smallint NOT NULL,
    chunks  bigint NOT NULL,
    PRIMARY KEY (tenant, source, tier, shard)
);

-- Row-level security stands behind the WHERE clauses of the queries: a transaction sees the tenant that it named, and
-- none when it named none (after a COMMIT the setting reads '', hence NULLIF).
DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['documents', 'chunks', 'tallies'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format($policy$CREATE POLICY one_tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO {service_role}', guarded);
    END LOOP;
END $$;
GRANT SELECT ON index_identity TO {service_role};

-- Makes the index that of the first embedder that writes to it: records its identity and builds one HNSW index a tier
-- for its dimensions. A later call changes nothing; the caller compares what is returned with what it has.
-- SECURITY DEFINER because building an index takes the table's owner; it reads and returns no tenant's rows.
CREATE FUNCTION adopt_embedder(its_name text, its_dimensions integer, its_hash text) RETURNS SETOF index_identity
LANGUAGE plpgsql SECURITY DEFINER SET search_path = retriever, public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('headrace.retriever.index_identity'));
    IF NOT EXISTS (SELECT FROM index_identity) THEN
        INSERT INTO index_identity (name, dimensions, hash) VALUES (its_name, its_dimensions, its_hash);
        -- A partial index for each tier: a search limited to a tier reads only that tier's graph, which keeps its
        -- recall and its speed, and never touches a stricter tier's vectors.
        FOR tier IN 1..3 LOOP
            EXECUTE format('CREATE INDEX chunks_vectors_tier_%s ON chunks
                USING hnsw ((embedding::halfvec(%s)) halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)
                WHERE tier = %s', tier, its_dimensions, tier);
        END LOOP;
    END IF;
    RETURN QUERY SELECT * FROM index_identity;
END $$;
REVOKE ALL ON FUNCTION adopt_embedder FROM PUBLIC;
GRANT EXECUTE ON FUNCTION adopt_embedder TO {service_role};
