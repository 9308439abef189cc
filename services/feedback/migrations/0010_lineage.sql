-- Which answers a model gave, newest first.
CREATE INDEX interactions_by_model ON interactions (tenant, model_version, completed_at DESC);
