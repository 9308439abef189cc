-- Who may use what, who decided it, and who read what.
--
-- A transaction sees the rows of the tenant that it named in headrace.tenant, all rows when it named '*', which is no
-- tenant's name, and none when it named nobody. The audit log is the exception: it is one chain over everybody.

-- Leave for one purpose on a tenant's records until a day. Where a grant stands is never stored: it follows from these
-- columns and the time, so that one that has expired is over without anybody having to say so.
CREATE TABLE grants (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    grant_id uuid NOT NULL,
    purpose smallint NOT NULL CHECK (purpose BETWEEN 1 AND 6),    -- headrace.privacy.v1.Purpose
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),          -- up to which
    sources text[] NOT NULL CHECK (cardinality(sources) <= 32 AND array_position(sources, NULL) IS NULL),  -- {}: all
    reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    requested_by text NOT NULL CHECK (requested_by <> ''),
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    longest_days smallint NOT NULL CHECK (longest_days BETWEEN 1 AND 366),  -- as the policy had it when it was asked for
    policy_version text NOT NULL,                                 -- of the request, then of the decision
    approved boolean,
    decided_by text CHECK (decided_by <> ''),
    decided_at timestamptz,
    note text NOT NULL DEFAULT '' CHECK (char_length(note) <= 1000),
    revoked_by text CHECK (revoked_by <> ''),
    revoked_at timestamptz,
    PRIMARY KEY (tenant, grant_id),
    CONSTRAINT a_grant_ends_in_time CHECK (
        expires_at > requested_at
        AND extract(epoch FROM expires_at - requested_at) <= longest_days * 86400.0
    ),
    CONSTRAINT a_decision_is_whole CHECK (num_nulls(approved, decided_by, decided_at) IN (0, 3)),
    -- Four eyes: "Maria " is Maria.
    CONSTRAINT nobody_decides_their_own CHECK (lower(btrim(decided_by)) <> lower(btrim(requested_by))),
    CONSTRAINT nothing_expired_is_approved CHECK (NOT approved OR decided_at < expires_at),
    CONSTRAINT a_revocation_is_whole CHECK (num_nulls(revoked_by, revoked_at) IN (0, 2)),
    CONSTRAINT only_the_approved_is_revoked CHECK (revoked_at IS NULL OR (approved IS TRUE AND revoked_at >= decided_at))
);

CREATE INDEX grants_by_request ON grants (tenant, requested_at DESC);
CREATE INDEX grants_in_force ON grants (tenant, purpose, expires_at) WHERE approved AND revoked_at IS NULL;

-- What was decided stands: a grant is decided once and revoked once, and never changed besides.
CREATE FUNCTION grants_are_decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.decided_at IS NOT NULL
        AND (NEW.approved, NEW.decided_by, NEW.decided_at) IS DISTINCT FROM (OLD.approved, OLD.decided_by, OLD.decided_at)
    THEN
        RAISE EXCEPTION 'a grant is decided once' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.revoked_at IS NOT NULL AND (NEW.revoked_by, NEW.revoked_at) IS DISTINCT FROM (OLD.revoked_by, OLD.revoked_at)
    THEN
        RAISE EXCEPTION 'a grant is revoked once' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER grants_are_decided_once BEFORE UPDATE ON grants FOR EACH ROW EXECUTE FUNCTION grants_are_decided_once();

-- The log of decisions and reads: one chain of keyed hashes. The role may add and read, nothing else.
CREATE TABLE audit (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),             -- without a gap, so over all tenants
    recorded_at timestamptz NOT NULL,
    action text NOT NULL CHECK (action ~ '^[a-z]+(\.[a-z]+)+$'),
    role text NOT NULL,
    actor text NOT NULL,
    tenant text NOT NULL,                                         -- '' when nobody's
    purpose smallint NOT NULL CHECK (purpose BETWEEN 0 AND 6),
    tier smallint NOT NULL CHECK (tier BETWEEN 0 AND 3),
    object text NOT NULL,
    records text[] NOT NULL CHECK (cardinality(records) <= 1000),
    reason text NOT NULL,
    policy_version text NOT NULL,
    trace_id text NOT NULL CHECK (trace_id ~ '^([0-9a-f]{32})?$'),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)           -- HMAC-SHA-256 of the row before's hash and this row
);

CREATE INDEX audit_by_tenant ON audit (tenant, sequence);

CREATE FUNCTION audit_follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence <> coalesce((SELECT max(sequence) FROM audit), 0) + 1 THEN
        RAISE EXCEPTION 'a row of the audit log follows the last one' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_follows BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_follows();

CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();

-- Which checkpoints were written, so that a file that is gone is missed. The files, outside the database, are what
-- counts: a row without its file is a fault, a file without its row is not.
CREATE TABLE checkpoints (
    number bigint PRIMARY KEY CHECK (number > 0),
    sequence bigint NOT NULL CHECK (sequence > 0),                -- of the audit's row that it seals
    signed text NOT NULL,                                         -- the compact JWS, as the file has it
    made_at timestamptz NOT NULL
);

-- The tier of a source or a product, by a decision of the privacy team.
CREATE TABLE tier_decisions (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    kind smallint NOT NULL CHECK (kind IN (1, 2)),                -- 1 source, 2 product
    name text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,64}$'),
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    reason text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    decided_by text NOT NULL CHECK (decided_by <> ''),
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);

-- A tenant's own identifiers, sealed under a key of the tenant's. In the clear they are in memory only.
CREATE TABLE dictionaries (
    tenant text PRIMARY KEY CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    identifiers integer NOT NULL CHECK (identifiers BETWEEN 0 AND 100000),
    sealed bytea NOT NULL,                                        -- headrace.privacy.v1.SealedBytes
    changed_by text NOT NULL CHECK (changed_by <> ''),
    changed_at timestamptz NOT NULL
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['grants', 'tier_decisions', 'dictionaries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (current_setting(''headrace.tenant'', true) IN (tenant, ''*''))', name);
    END LOOP;
END
$$;

ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit FORCE ROW LEVEL SECURITY;
CREATE POLICY one_chain_may_be_read ON audit FOR SELECT USING (true);
CREATE POLICY one_chain_may_grow ON audit FOR INSERT WITH CHECK (true);
ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_one_chain_may_be_read ON checkpoints FOR SELECT USING (true);
CREATE POLICY of_the_one_chain_may_grow ON checkpoints FOR INSERT WITH CHECK (true);

GRANT SELECT, INSERT ON audit, checkpoints TO {service_role};
GRANT SELECT, INSERT, UPDATE (approved, decided_by, decided_at, note, revoked_by, revoked_at, policy_version)
    ON grants TO {service_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON tier_decisions, dictionaries TO {service_role};
