-- What ingest keeps: how each query and each document stands. Never their text.

CREATE TABLE queries (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    product text NOT NULL,
    state smallint NOT NULL,          -- headrace.query.v1.QueryState
    accepted_at timestamptz NOT NULL,
    trace_id text NOT NULL,
    answer bytea,                     -- headrace.query.v1.AnswerCompleted, whole
    answer_event_id uuid,
    ended_at timestamptz,
    PRIMARY KEY (tenant, query_id)
);
CREATE INDEX queries_open ON queries (accepted_at) WHERE state = 1;

CREATE TABLE sources (
    tenant text NOT NULL CHECK (tenant <> ''),
    name text NOT NULL,
    tier smallint NOT NULL,           -- headrace.privacy.v1.Tier, the strictest declared; it never falls by a put
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE documents (
    tenant text NOT NULL,
    source text NOT NULL,
    document_id text NOT NULL,
    version bigint NOT NULL,
    fingerprint bytea NOT NULL,       -- SHA-256 over what was put; all zeros for a deletion
    title text NOT NULL,
    uri text NOT NULL,
    tier smallint NOT NULL,           -- 0 until it is indexed
    state smallint NOT NULL,          -- headrace.document.v1.DocumentState
    chunks integer NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, document_id),
    FOREIGN KEY (tenant, source) REFERENCES sources (tenant, name)
);

-- What became of each submission, for the client that waits for it on any instance.
CREATE TABLE submissions (
    tenant text NOT NULL,
    submission_id uuid NOT NULL,
    source text NOT NULL,
    document_id text NOT NULL,
    version bigint NOT NULL,          -- 0 when it was refused
    outcome smallint NOT NULL,        -- headrace.document.v1.Outcome
    violations bytea,                 -- headrace.document.v1.DocumentRefused, when it was refused
    submitted_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, submission_id)
);
CREATE INDEX submissions_age ON submissions USING brin (submitted_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON queries, sources, documents, submissions TO {service_role};
GRANT SELECT ON applied_migrations TO {service_role};
