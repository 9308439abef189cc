-- Which queries are answered, and by which versions of what. Never an answer's text: it rests where it is needed.

-- A version never changes; the hash finds out a file that did.
CREATE TABLE prompts (
    name text NOT NULL,
    version text NOT NULL,
    content text NOT NULL,
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

CREATE TABLE variants (
    name text NOT NULL,
    version text NOT NULL,
    content text NOT NULL,
    sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

-- The first answer to commit wins: the key is the decision.
CREATE TABLE answers (
    tenant text NOT NULL CHECK (tenant <> ''),
    query_id uuid NOT NULL,
    event_id uuid NOT NULL,               -- the answer.completed that carries it
    tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 3),  -- 1 public, 2 tier_1, 3 tier_2
    grounding text NOT NULL CHECK (grounding IN ('grounded', 'extracted', 'not_in_sources')),
    variant text NOT NULL,
    variant_version text NOT NULL,
    completed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, query_id),
    FOREIGN KEY (variant, variant_version) REFERENCES variants (name, version)
);

ALTER TABLE answers ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON answers USING (tenant = current_setting('headrace.tenant', true));

GRANT SELECT, INSERT ON answers, prompts, variants TO {service_role};
