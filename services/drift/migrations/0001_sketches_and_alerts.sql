-- Sketches of the traffic, what they are measured against, and what came of it. No text of a question, and of words in the clear
-- only what the lexicon holds. The tenant is in every key: a key without it would tell one tenant what another has.

-- Who has traffic at all, so that a look can go from one to the next. Holds nothing of theirs.
CREATE TABLE tenants (
    tenant text PRIMARY KEY CHECK (tenant <> '')
);

-- How far a tenant's traffic has been looked at.
CREATE TABLE states (
    tenant text PRIMARY KEY REFERENCES tenants,
    closed_until timestamptz,             -- what belongs to a bucket before this comes too late
    looked_until timestamptz,             -- the end of the last window that was looked at
    standing text NOT NULL DEFAULT '',    -- headrace_drift.measuring.Standing, as JSON; '' before the first look
    baseline_id uuid                      -- what windows are measured against; null while there is nothing
);

-- What each product asked of each kind in each bucket, in parts: whoever commits adds one, and when there are many, or the
-- bucket is closed, they are put together. '' where an event does not say which.
CREATE TABLE sketches (
    tenant text NOT NULL REFERENCES tenants,
    bucket timestamptz NOT NULL,          -- its beginning, by event time
    product text NOT NULL,
    kind text NOT NULL,
    part bigint GENERATED ALWAYS AS IDENTITY,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest in it: 1 public, 2 tier_1, 3 tier_2
    queries bigint NOT NULL CHECK (queries >= 0),
    sketch bytea NOT NULL,                -- headrace_drift.measuring.Sketch
    PRIMARY KEY (tenant, bucket, product, kind, part)
);
ALTER TABLE sketches ALTER COLUMN sketch SET STORAGE EXTERNAL;  -- it is compressed already

-- Whose the queries are that a sketch keeps by id, so that an erasure finds them.
CREATE TABLE examples (
    tenant text NOT NULL REFERENCES tenants,
    bucket timestamptz NOT NULL,
    product text NOT NULL,
    kind text NOT NULL,
    query_id text NOT NULL,
    subject bytea CHECK (octet_length(subject) = 32),  -- a keyed hash; null where nobody was named
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, bucket, product, kind, query_id)
);
CREATE INDEX examples_by_subject ON examples (tenant, subject) WHERE subject IS NOT NULL;

-- Words that many say, a week of them in a row. None is stricter than TIER_1.
CREATE TABLE lexicons (
    tenant text NOT NULL REFERENCES tenants,
    week date NOT NULL,                   -- its Monday
    tier smallint NOT NULL DEFAULT 2 CHECK (tier BETWEEN 1 AND 2),
    lexicon bytea NOT NULL,               -- headrace_drift.measuring.Lexicon
    PRIMARY KEY (tenant, week)
);

-- Events that came later than their bucket could wait for.
CREATE TABLE late_events (
    tenant text NOT NULL REFERENCES tenants,
    bucket timestamptz NOT NULL,
    events bigint NOT NULL CHECK (events >= 0),
    PRIMARY KEY (tenant, bucket)
);

-- What windows are or were measured against: a period, and for whose sake it was taken.
CREATE TABLE baselines (
    tenant text NOT NULL REFERENCES tenants,
    baseline_id uuid NOT NULL,
    dataset_id text NOT NULL,             -- '' for a period
    begins timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    samples bigint NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, baseline_id)
);

-- Its sketches, put together when it was set, without the ids of any query: they outlive those of the buckets.
CREATE TABLE baseline_sketches (
    tenant text NOT NULL,
    baseline_id uuid NOT NULL,
    product text NOT NULL,
    kind text NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    sketch bytea NOT NULL,
    PRIMARY KEY (tenant, baseline_id, product, kind),
    FOREIGN KEY (tenant, baseline_id) REFERENCES baselines ON DELETE CASCADE
);
ALTER TABLE baseline_sketches ALTER COLUMN sketch SET STORAGE EXTERNAL;

-- What each look came to.
CREATE TABLE looks (
    tenant text NOT NULL REFERENCES tenants,
    ends timestamptz NOT NULL,
    begins timestamptz NOT NULL,
    baseline_id uuid NOT NULL,
    record bytea NOT NULL,                -- headrace.drift.v1.GetReportResponse with the readings of every slice alone
    PRIMARY KEY (tenant, ends)
);

CREATE TABLE alerts (
    tenant text NOT NULL REFERENCES tenants,
    alert_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closed')),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    baseline_id uuid NOT NULL,
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- the strictest in its window
    record bytea NOT NULL,                -- headrace.drift.v1.Alert, but for how it stands and its queries' ids
    PRIMARY KEY (tenant, alert_id),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);
CREATE INDEX alerts_by_time ON alerts (tenant, opened_at);

-- Queries to look at, by id.
CREATE TABLE alert_examples (
    tenant text NOT NULL,
    alert_id uuid NOT NULL,
    place smallint NOT NULL,              -- most telling first, from 0
    query_id text NOT NULL,
    subject bytea CHECK (octet_length(subject) = 32),
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, alert_id, place),
    FOREIGN KEY (tenant, alert_id) REFERENCES alerts ON DELETE CASCADE
);
CREATE INDEX alert_examples_by_subject ON alert_examples (tenant, subject) WHERE subject IS NOT NULL;

-- How far the topics have been read, by event time. Of no tenant: a partition holds everybody's.
CREATE TABLE progress (
    topic text NOT NULL,
    partition integer NOT NULL,
    at timestamptz NOT NULL,              -- the newest event's time
    seen_at timestamptz NOT NULL,         -- when it was read, by the reader's clock
    PRIMARY KEY (topic, partition)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'progress'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY of_the_service ON %I TO {service_role} USING (true)', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['states', 'sketches', 'examples', 'lexicons', 'late_events', 'baselines',
                                'baseline_sketches', 'looks', 'alerts', 'alert_examples'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        -- After a commit the setting reads '', not null.
        EXECUTE format($policy$CREATE POLICY tenant ON %I
            USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''))$policy$, name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['sketches', 'examples', 'lexicons', 'baseline_sketches', 'alerts', 'alert_examples'] LOOP
        EXECUTE format('CREATE POLICY up_to_tier_2 ON %I AS RESTRICTIVE TO {service_role} USING (tier <= 3)', name);
        EXECUTE format('CREATE POLICY up_to_tier_1 ON %I AS RESTRICTIVE TO {service_role}_tier_1
            USING (tier BETWEEN 1 AND 2)', name);
        EXECUTE format('CREATE POLICY up_to_public ON %I AS RESTRICTIVE TO {service_role}_public USING (tier = 1)', name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON tenants TO {service_role};
GRANT SELECT, INSERT, UPDATE ON states, progress TO {service_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON sketches, lexicons, late_events, baseline_sketches, alerts TO {service_role};
GRANT SELECT, INSERT, DELETE ON examples, baselines, looks, alert_examples TO {service_role};
