-- Whose a query is, by keyed hash; the documents that its answer was made of; and what file a document was put as, by
-- keyed hash: so that an erasure finds them, and the same file is not taken in again.
ALTER TABLE queries ADD COLUMN subject bytea CHECK (octet_length(subject) = 32);
CREATE INDEX queries_by_subject ON queries (tenant, subject) WHERE subject IS NOT NULL;
CREATE INDEX queries_by_age ON queries (tenant, tier, accepted_at);

CREATE TABLE answer_documents (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    source text NOT NULL,
    document_id text NOT NULL,
    PRIMARY KEY (tenant, query_id, source, document_id),
    FOREIGN KEY (tenant, query_id) REFERENCES queries ON DELETE CASCADE
);
CREATE INDEX answer_documents_by_document ON answer_documents (tenant, source, document_id);
ALTER TABLE answer_documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE answer_documents FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON answer_documents TO {service_role}
    USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''));
GRANT SELECT, INSERT, DELETE ON answer_documents TO {service_role};

CREATE TABLE document_contents (
    tenant text NOT NULL,
    source text NOT NULL,
    document_id text NOT NULL,
    content bytea NOT NULL CHECK (octet_length(content) = 32),
    PRIMARY KEY (tenant, source, document_id, content),
    FOREIGN KEY (tenant, source, document_id) REFERENCES documents ON DELETE CASCADE
);
ALTER TABLE document_contents ENABLE ROW LEVEL SECURITY;
ALTER TABLE document_contents FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON document_contents TO {service_role}
    USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''));
GRANT SELECT, INSERT, DELETE ON document_contents TO {service_role};
