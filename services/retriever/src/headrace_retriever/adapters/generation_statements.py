"""The SQL of the tenants' own generations. See migrations/0003_generations.sql."""

from __future__ import annotations

_COLUMNS = """
tenant, generation, model, address, files, state, dimensions, hash, failure, prepared_at, ready_at, changed_at
"""

# Whoever switches, begins or ends a generation holds it alone; whoever stores chunks or vectors holds it with others:
# so no chunk comes between a switch's look at what lacks its vector and the switch. Each tenant has its own; it goes
# with the transaction. What is read behind it takes another statement: this one sees what was there before it waited.
_LOCK = "hashtext('headrace.retriever.generations'), hashtext($1)"
HOLD_ALONE = f"SELECT pg_advisory_xact_lock({_LOCK})"
HOLD_WITH_OTHERS = f"SELECT pg_advisory_xact_lock_shared({_LOCK})"

#: Of a session: which instance fills a tenant's generations.
TRY_FILLING = "SELECT pg_try_advisory_lock(hashtext('headrace.retriever.filling'), hashtext($1))"

TENANTS = "SELECT tenant FROM tenants ORDER BY tenant"
ADD_TENANT = "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING"

ALL = f"SELECT {_COLUMNS} FROM generations WHERE tenant = $1 ORDER BY generation DESC"  # noqa: S608 - our own words
FIND = f"SELECT {_COLUMNS} FROM generations WHERE tenant = $1 AND model = $2"  # noqa: S608
LIVE = f"SELECT {_COLUMNS} FROM generations WHERE tenant = $1 AND state = 'live'"  # noqa: S608

BEGIN = """
INSERT INTO generations (tenant, generation, model, address, files, state, prepared_at, changed_at)
SELECT $1, coalesce(max(generation), 0) + 1, $2, $3, $4::jsonb, 'preparing', $5, $5 FROM generations WHERE tenant = $1
"""
BEGIN_AGAIN = """
UPDATE generations
SET state = 'preparing', address = $3, failure = '', prepared_at = $4, changed_at = $4, ready_at = NULL
WHERE tenant = $1 AND model = $2
"""
MOVE = "UPDATE generations SET address = $3, failure = '' WHERE tenant = $1 AND model = $2"

#: $3: when.
STAND = "UPDATE generations SET state = $3, changed_at = $4 WHERE tenant = $1 AND generation = $2"

COUNT_FILLED = "SELECT generation, count(*) AS filled FROM trained_vectors WHERE tenant = $1 GROUP BY generation"
COUNT_CHUNKS = "SELECT coalesce(sum(chunks), 0)::bigint FROM tallies WHERE tenant = $1"

_HAS_NONE = """
NOT EXISTS (
    SELECT FROM trained_vectors AS v WHERE v.tenant = c.tenant AND v.generation = $2 AND v.chunk_id = c.chunk_id
)
"""
#: How many chunks have no vector in a generation.
COUNT_LACKING = f"SELECT count(*) FROM chunks AS c WHERE c.tenant = $1 AND {_HAS_NONE}"  # noqa: S608 - our own words
IS_LACKING = f"SELECT EXISTS (SELECT FROM chunks AS c WHERE c.tenant = $1 AND {_HAS_NONE})"  # noqa: S608
#: $3, $4, $5: behind which place; no source or document is called ''. The primary key has this order.
LACKING = f"""
SELECT chunk_id, source, document_id, version, ordinal, labels, text, tier, 0::float8 AS score,
    0::float8 AS similarity, 0 AS vector_rank, 0 AS text_rank
FROM chunks AS c
WHERE c.tenant = $1 AND (c.source, c.document_id, c.ordinal) > ($3, $4, $5) AND {_HAS_NONE}
ORDER BY c.source, c.document_id, c.ordinal LIMIT $6
"""  # noqa: S608

LEARN = """
UPDATE generations SET dimensions = $3, hash = $4 WHERE tenant = $1 AND generation = $2 AND dimensions IS NULL
"""
IDENTITY = "SELECT dimensions, hash FROM generations WHERE tenant = $1 AND generation = $2"
STATE = "SELECT state FROM generations WHERE tenant = $1 AND generation = $2"

# The chunk's id is made of the document's version: a chunk that was replaced meanwhile is not there any more, and one
# that is being replaced is waited for. Its source and its tier are the chunk's own.
FILL = """
INSERT INTO trained_vectors (tenant, generation, chunk_id, source, tier, embedding)
SELECT c.tenant, $2, c.chunk_id, c.source, c.tier, $4::real[]::halfvec
FROM chunks AS c WHERE c.tenant = $1 AND c.chunk_id = $3 FOR KEY SHARE
ON CONFLICT DO NOTHING
"""

SETTLE = """
UPDATE generations
SET failure = '', ready_at = CASE WHEN $3 THEN coalesce(ready_at, $4) ELSE ready_at END,
    changed_at = CASE WHEN $3 AND state = 'preparing' THEN $4 ELSE changed_at END,
    state = CASE WHEN $3 AND state = 'preparing' THEN 'ready' ELSE state END
WHERE tenant = $1 AND generation = $2
    AND (failure <> '' OR ($3 AND state = 'preparing'))
"""
FAIL = "UPDATE generations SET failure = $3 WHERE tenant = $1 AND generation = $2 AND failure <> $3"

CLEAR = "DELETE FROM trained_vectors WHERE tenant = $1 AND generation = $2"
SWEEP = """
DELETE FROM trained_vectors WHERE tenant = $1
    AND generation IN (SELECT generation FROM generations WHERE tenant = $1 AND state = 'gone')
"""
