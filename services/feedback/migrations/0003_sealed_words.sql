-- Comments and corrections rest masked, with a tier of their own, and sealed under a key of their owner's: in `words`,
-- no longer in `record`.

ALTER TABLE feedback
    ADD COLUMN words bytea,           -- headrace.privacy.v1.ProtectedText, always sealed; null for a thumb or a rating
    ADD COLUMN words_tier smallint CHECK (words_tier BETWEEN 1 AND 3);

-- What rests in the clear from before cannot be sealed by a server that has no keys. It goes; thumbs and ratings stay.
-- The security of rows holds for the owner too, so it is off for that moment, in which nobody else sees the table.
ALTER TABLE feedback NO FORCE ROW LEVEL SECURITY;
DELETE FROM feedback WHERE kind IN ('comment', 'correction');
ALTER TABLE feedback FORCE ROW LEVEL SECURITY;

ALTER TABLE feedback
    ADD CONSTRAINT words_rest_sealed
        CHECK ((kind IN ('comment', 'correction')) = (words IS NOT NULL) AND (words IS NULL) = (words_tier IS NULL));

COMMENT ON COLUMN feedback.record IS 'headrace.feedback.v1.FeedbackSubmitted without its words';
COMMENT ON COLUMN feedback.tier IS 'the stricter of the interaction''s and the words''; 3 until the interaction is known';

-- At the join they are sealed anew, for the owner of the interaction.
GRANT UPDATE (words) ON feedback TO {service_role};

-- Exports go through a tenant's interactions by time.
CREATE INDEX interactions_by_time ON interactions (tenant, completed_at, query_id);
DROP INDEX interactions_by_completion;
