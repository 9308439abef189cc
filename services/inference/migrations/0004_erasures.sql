-- Whose query it was, by keyed hash, so that an erasure finds it. Nothing was erased here before, and nothing else ever
-- is deleted. Null: nobody was named, or the row is older than this.
ALTER TABLE answers
    ADD COLUMN subject bytea CHECK (octet_length(subject) = 32),
    ADD COLUMN asked_at timestamptz;                                -- when ingest took the question in
CREATE INDEX answers_by_subject ON answers (tenant, subject) WHERE subject IS NOT NULL;
CREATE INDEX answers_by_completion ON answers (tenant, tier, completed_at);
GRANT DELETE, UPDATE (subject, asked_at) ON answers TO {service_role};
