-- Which models learned from what was erased, and what became of them.

ALTER TABLE erasures
    ADD COLUMN completion text NOT NULL DEFAULT '',       -- a compact JWS, once the last of its models is retired
    ADD COLUMN completion_text text NOT NULL DEFAULT '';
GRANT UPDATE (completion, completion_text) ON erasures TO {service_role};

-- headrace.privacy.v1.ReachedModel, as a service named them when it read back.
ALTER TABLE erasure_reports ADD COLUMN models bytea[] NOT NULL DEFAULT '{}';

CREATE TABLE reached_models (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    erasure_id uuid NOT NULL,
    model text NOT NULL CHECK (model <> ''),              -- "NAME@VERSION"
    dataset_id text NOT NULL,
    retire_by timestamptz NOT NULL,
    retired_at timestamptz,                               -- when its weights were deleted; null: they are still there
    replaced_by text NOT NULL DEFAULT '',                 -- a model, or "base"; '' until it is retired
    PRIMARY KEY (tenant, erasure_id, model),
    FOREIGN KEY (tenant, erasure_id) REFERENCES erasures ON DELETE CASCADE,
    CHECK ((retired_at IS NULL) = (replaced_by = ''))
);
CREATE INDEX reached_models_waiting ON reached_models (tenant, model) WHERE retired_at IS NULL;

-- Models whose weights are deleted: one may go before the erasure that it is retired for is closed.
CREATE TABLE deleted_models (
    tenant text NOT NULL CHECK (tenant ~ '^[a-z0-9_-]{1,64}$'),
    model text NOT NULL CHECK (model <> ''),
    deleted_at timestamptz NOT NULL,
    replaced_by text NOT NULL,
    PRIMARY KEY (tenant, model)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['reached_models', 'deleted_models'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I USING (current_setting(''headrace.tenant'', true) IN (tenant, ''*''))', name);
    END LOOP;
END
$$;
GRANT SELECT, INSERT, UPDATE (retired_at, replaced_by) ON reached_models TO {service_role};
GRANT SELECT, INSERT ON deleted_models TO {service_role};
