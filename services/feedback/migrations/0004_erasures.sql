-- What is erased is deleted; nothing else here ever is.
GRANT DELETE ON interactions, interaction_chunks, feedback TO {service_role};

CREATE INDEX interactions_by_subject ON interactions (tenant, subject) WHERE subject <> '';
CREATE INDEX feedback_by_subject ON feedback (tenant, subject) WHERE subject <> '';
