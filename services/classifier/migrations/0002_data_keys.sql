-- The keys that seal: one for each owner of data, each wrapped by a master key that the database never sees.

-- Which master keys wrap anything. A version is noted before its first use and taken off before it is destroyed; the
-- reference below keeps an instance that missed a rotation from wrapping a key under a version that is gone.
CREATE TABLE master_keys (
    version text PRIMARY KEY CHECK (version <> ''),
    noted_at timestamptz NOT NULL DEFAULT now()
);

-- Deleting a row makes all that its key sealed unreadable. A row says whose it is by keyed hashes alone.
CREATE TABLE data_keys (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    key_id uuid NOT NULL,
    kind smallint NOT NULL CHECK (kind BETWEEN 0 AND 4),          -- headrace.privacy.v1.KeyOwnerKind; 0: hashes the names
    owner bytea NOT NULL CHECK (octet_length(owner) = 32),        -- HMAC-SHA-256 of the owner's name
    source bytea CHECK (octet_length(source) = 32),               -- of a document: the same of its source
    wrapped bytea NOT NULL,
    master_version text NOT NULL REFERENCES master_keys (version),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key_id),
    UNIQUE (tenant, kind, owner)
);

CREATE INDEX data_keys_by_id ON data_keys (key_id);
CREATE INDEX data_keys_by_source ON data_keys (tenant, source) WHERE source IS NOT NULL;
CREATE INDEX data_keys_by_master ON data_keys (master_version, key_id);

ALTER TABLE data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE data_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON data_keys USING (current_setting('headrace.tenant', true) IN (tenant, '*'));
ALTER TABLE master_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE master_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY are_nobodys_in_particular ON master_keys USING (true);

GRANT SELECT, INSERT, DELETE, UPDATE (wrapped, master_version) ON data_keys TO {service_role};
GRANT SELECT, INSERT, DELETE ON master_keys TO {service_role};
