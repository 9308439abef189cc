-- What kind of query it was and how it came to its variant, so that answers can be compared kind by kind. What was logged
-- before there were routes was all of one kind.
ALTER TABLE interactions
    ADD COLUMN kind text NOT NULL DEFAULT 'other',
    ADD COLUMN kind_confidence double precision NOT NULL DEFAULT 0,
    ADD COLUMN route text NOT NULL DEFAULT '',
    ADD COLUMN route_version integer NOT NULL DEFAULT 0,   -- 0: the default of the house
    ADD COLUMN routing_reason text NOT NULL DEFAULT '',
    ADD COLUMN backend text NOT NULL DEFAULT '';

CREATE INDEX interactions_by_kind ON interactions (tenant, kind, completed_at);

-- Two more kinds of judgement: of one citation, and what somebody did with the answer. `detail` is the citation's number or
-- the act's name; of one person's judgements of one answer the last of each kind and detail counts.
ALTER TABLE feedback
    ADD COLUMN detail text NOT NULL DEFAULT '',
    DROP CONSTRAINT feedback_kind_check,
    ADD CONSTRAINT feedback_kind_check
        CHECK (kind IN ('thumb', 'rating', 'comment', 'correction', 'citation', 'act')),
    ADD CONSTRAINT feedback_has_detail CHECK ((kind IN ('citation', 'act')) = (detail <> ''));
