-- Models that the trainer made for a tenant, as model.changed told of them last. No weights, and no text of anybody's.

-- Who has any, so that an instance that starts can go from one to the next.
CREATE TABLE tenants (
    tenant text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9_-]{1,64}$')
);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON tenants TO {service_role} USING (true);
GRANT SELECT, INSERT ON tenants TO {service_role};

CREATE TABLE trained_models (
    tenant text NOT NULL REFERENCES tenants,
    name text NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'),
    version text NOT NULL CHECK (version ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest that it learned from
    target smallint NOT NULL CHECK (target > 0),          -- headrace.training.v1.Target
    standing text NOT NULL CHECK (standing IN ('candidate', 'canary', 'live', 'rolled_back', 'retired', 'deleted')),
    address text NOT NULL,                -- where its weights are, by fsspec
    files bytea NOT NULL,                 -- JSON: SHA-256 by name
    trace_context bytea NOT NULL,         -- JSON: W3C headers of the event
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, version)
);
ALTER TABLE trained_models ENABLE ROW LEVEL SECURITY;
ALTER TABLE trained_models FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON trained_models USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''));
CREATE POLICY up_to_tier_2 ON trained_models AS RESTRICTIVE TO {service_role} USING (tier <= 3);
CREATE POLICY up_to_tier_1 ON trained_models AS RESTRICTIVE TO {service_role}_tier_1 USING (tier BETWEEN 1 AND 2);
CREATE POLICY up_to_public ON trained_models AS RESTRICTIVE TO {service_role}_public USING (tier = 1);
GRANT SELECT, INSERT ON trained_models TO {service_role};
GRANT UPDATE (tier, standing, address, files, trace_context, changed_at) ON trained_models TO {service_role};
