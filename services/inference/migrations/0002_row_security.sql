-- Rows by tenant and by tier, for every role, the owner included.

DROP POLICY tenant ON answers;
-- After a commit the setting reads '', not null.
CREATE POLICY tenant ON answers USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''));
ALTER TABLE answers FORCE ROW LEVEL SECURITY;
CREATE POLICY up_to_tier_2 ON answers AS RESTRICTIVE TO {service_role} USING (tier <= 3);
CREATE POLICY up_to_tier_1 ON answers AS RESTRICTIVE TO {service_role}_tier_1 USING (tier BETWEEN 1 AND 2);
CREATE POLICY up_to_public ON answers AS RESTRICTIVE TO {service_role}_public USING (tier = 1);
GRANT SELECT ON answers TO {service_role}_tier_1, {service_role}_public;

-- What the house itself wrote, the same for all tenants.
ALTER TABLE prompts ENABLE ROW LEVEL SECURITY;
ALTER TABLE prompts FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON prompts TO {service_role} USING (true);
ALTER TABLE variants ENABLE ROW LEVEL SECURITY;
ALTER TABLE variants FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON variants TO {service_role} USING (true);
