-- Rows by tenant and by tier, for every role, the owner included.

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON tenants TO {service_role} USING (true);

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['interactions', 'interaction_chunks', 'feedback'] LOOP
        EXECUTE format('DROP POLICY tenant ON %I', guarded);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, guarded);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', guarded);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', guarded);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public
            USING (tier = 1)', guarded);
        EXECUTE format('GRANT SELECT ON %I TO {service_role}_tier_1, {service_role}_public', guarded);
    END LOOP;
END $$;
