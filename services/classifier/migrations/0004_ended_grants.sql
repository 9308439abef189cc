-- Which grants' ends have been announced: each once, whether it was revoked or has expired.
CREATE TABLE ended_grants (
    tenant text NOT NULL,
    grant_id uuid NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, grant_id),
    FOREIGN KEY (tenant, grant_id) REFERENCES grants ON DELETE CASCADE
);

ALTER TABLE ended_grants ENABLE ROW LEVEL SECURITY;
ALTER TABLE ended_grants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ended_grants USING (current_setting('headrace.tenant', true) IN (tenant, '*'));

GRANT SELECT, INSERT ON ended_grants TO {service_role};
