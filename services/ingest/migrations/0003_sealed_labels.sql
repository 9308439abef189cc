-- What people call a document rests sealed under the document's key, so that an erasure reaches it. What stood here in
-- the clear goes: the sources list such documents without a title until they are put again, which 0002 asks for anyway.
ALTER TABLE documents DROP COLUMN title, DROP COLUMN uri;
ALTER TABLE documents ADD COLUMN labels bytea NOT NULL DEFAULT '';  -- headrace.document.v1.Document, labels alone, sealed
ALTER TABLE documents ALTER COLUMN labels DROP DEFAULT;
-- Writes the table anew: a dropped column stays in the rows until then.
CLUSTER documents USING documents_pkey;

COMMENT ON COLUMN documents.fingerprint IS 'HMAC-SHA-256 over what was put, under the key of the tenant''s index; all zeros for a deletion';
