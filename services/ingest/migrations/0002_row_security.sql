-- Rows by tenant and by tier, whoever asks: a transaction sees the tenant that it named, and its role decides up to
-- which tier.

-- Who has queries at all. Holds no data of theirs, so that a tally over everybody can go tenant by tenant.
CREATE TABLE tenants (
    tenant text PRIMARY KEY CHECK (tenant <> '')
);
INSERT INTO tenants SELECT DISTINCT tenant FROM queries;
GRANT SELECT, INSERT ON tenants TO {service_role};
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON tenants TO {service_role} USING (true);

-- The tier of a query and its answer: the strictest until the answer says.
ALTER TABLE queries ADD COLUMN tier smallint NOT NULL DEFAULT 3 CHECK (tier BETWEEN 1 AND 3);

-- The retriever's migration of the same number empties its index: its words were readable there. So every document has
-- to be put again, and none may count as unchanged. A deletion (all zeros) stays one.
UPDATE documents SET fingerprint = '', chunks = 0
WHERE fingerprint <> decode(repeat('00', 32), 'hex');

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['queries', 'sources', 'documents', 'submissions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
    END LOOP;
    -- Tier 0 is a document's until it is indexed: only the service itself sees those.
    FOREACH guarded IN ARRAY ARRAY['queries', 'sources', 'documents'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;
