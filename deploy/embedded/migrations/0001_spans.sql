-- Spans of the last days, for reading one trace back where no tracing system is at hand.

CREATE TABLE spans (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id text NOT NULL,
    span_id text NOT NULL,
    parent_span_id text NOT NULL,
    service text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    started_ns bigint NOT NULL,
    ended_ns bigint NOT NULL,
    failed boolean NOT NULL,
    attributes jsonb NOT NULL,
    links text[] NOT NULL,
    query_id text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX spans_trace ON spans (trace_id);
CREATE INDEX spans_query ON spans (query_id) WHERE query_id <> '';
CREATE INDEX spans_age ON spans USING brin (stored_at);

GRANT SELECT, INSERT, DELETE ON spans TO {service_role};
