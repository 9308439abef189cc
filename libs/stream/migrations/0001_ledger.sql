-- What exactly-once effect needs in a service's own schema: which events took effect, and which are to be published.

CREATE TABLE inbox (
    topic text NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, topic)
);
CREATE INDEX inbox_age ON inbox USING brin (received_at);

-- A row is deleted once Kafka has it, so that no text rests here longer than it must.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

GRANT SELECT, INSERT, DELETE ON inbox, outbox TO {service_role};
