-- What an erasure leaves in a service's own schema: whom it was about, by keyed hash alone, so that what was still on
-- its way does not come back; and how many records it removed, so that a crash loses no count.

CREATE TABLE tombstones (
    tenant text NOT NULL CHECK (tenant <> ''),
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 5),  -- 1 subject, 2 source, 3 document, 4 content, 5 query
    name bytea NOT NULL CHECK (octet_length(name) = 32),  -- HMAC-SHA-256 under the key of the tenant's index
    erased_until timestamptz NOT NULL,                    -- what came before is erased; documents: for good
    PRIMARY KEY (tenant, kind, name)
);

CREATE TABLE erased_records (
    tenant text NOT NULL CHECK (tenant <> ''),
    erasure_id uuid NOT NULL,
    store text NOT NULL,
    records bigint NOT NULL CHECK (records >= 0),
    PRIMARY KEY (tenant, erasure_id, store)
);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['tombstones', 'erased_records'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I TO {service_role}
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO {service_role}', guarded);
    END LOOP;
END $$;
