"""The SQL of the index. Users' text is only ever a parameter; what is written into a statement are our own integers.

No word is stored or looked up as it is: see headrace_retriever.blinding.
"""

from __future__ import annotations

from functools import lru_cache

from headrace_privacy import Tier

from headrace_retriever.domain import Tuning, VectorSearch

IDENTITY = "SELECT name, dimensions, hash FROM index_identity"

# One that comes at the same time waits, and then changes nothing.
ADOPT = "INSERT INTO index_identity (name, dimensions, hash) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

#: $1: dimensions. The graphs of all tiers are made together.
HAS_GRAPHS = "SELECT to_regclass(format('chunks_vectors_%s_tier_1', $1::integer)) IS NOT NULL"

# The row is locked whether or not it changes, so two instances take turns at one document.
PUT_DOCUMENT = """
INSERT INTO documents AS d (tenant, source, document_id, version, tier, deleted, indexed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, source, document_id) DO UPDATE
SET (version, tier, deleted, indexed_at)
  = (excluded.version, excluded.tier, excluded.deleted, excluded.indexed_at)
WHERE d.version < excluded.version
RETURNING version
"""

CLEAR_CHUNKS = """
WITH gone AS (DELETE FROM chunks WHERE tenant = $1 AND source = $2 AND document_id = $3 RETURNING tier)
SELECT tier, count(*) AS chunks FROM gone GROUP BY tier
"""


def blinded(word: str, *, inner: str, outer: str) -> str:
    """Returns the SQL for a word's keyed hash, 12 characters of A-Z, a-z, 0-9, + and /, none of which needs quoting.

    All three are SQL: the word's text, and the pads of the Blinding (bytea).
    """
    return f"encode(substr(sha256({outer} || sha256({inner} || convert_to({word}, 'UTF8'))), 1, 9), 'base64')"


def blinded_words(words: str, *, inner: str, outer: str) -> str:
    """Returns the SQL for a tsvector with each word in its keyed hash's place; places and weights stay."""
    return f"""(
    SELECT coalesce(string_agg({blinded("lexeme", inner=inner, outer=outer)} || ':' || (
        SELECT string_agg(place || weight, ',') FROM unnest(positions, weights) AS at (place, weight)
    ), ' '), '')::tsvector
    FROM unnest({words})
)"""  # noqa: S608 - our own words


# $12: title and headings, $13: the text, $14: its terms as a tsvector, $15 and $16: the blinding's inner and outer pad.
PUT_CHUNK = f"""
INSERT INTO chunks (tenant, source, document_id, version, tier, ordinal, chunk_id, tokens, labels, text, embedding,
    words)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::real[]::halfvec, {
    blinded_words(
        "setweight(to_tsvector('english', $12), 'B') || to_tsvector('english', $13) || $14::text::tsvector",
        inner="$15::bytea",
        outer="$16::bytea",
    )
})
"""  # noqa: S608 - our own words

# Only the version that is indexed has chunks; one that is gone, or deleted, has none.
FETCH_CHUNKS = """
SELECT chunk_id, source, document_id, version, ordinal, labels, text, tier, 0::float8 AS score,
    0::float8 AS similarity, 0 AS vector_rank, 0 AS text_rank
FROM chunks WHERE tenant = $1 AND chunk_id = ANY($2::uuid[]) AND tier <= $3
"""

#: $3 and $4: behind which place; no document is called '', and no ordinal is below 0. The primary key has this order.
LIST_CHUNKS = """
SELECT chunk_id, source, document_id, version, ordinal, labels, text, tier, 0::float8 AS score,
    0::float8 AS similarity, 0 AS vector_rank, 0 AS text_rank
FROM chunks
WHERE tenant = $1 AND source = $2 AND (document_id, ordinal) > ($3, $4) AND tier <= $5
ORDER BY document_id, ordinal LIMIT $6
"""

COUNT_CHUNKS = "SELECT count(*) FROM chunks WHERE tenant = $1 AND source = $2 AND document_id = $3 AND version = $4"

# In the order of the tiers, so that two changes never wait for each other crosswise.
ADD_TO_TALLY = """
INSERT INTO tallies AS t (tenant, source, tier, shard, chunks)
SELECT $1, $2, tier, $3, sum(change) FROM unnest($4::smallint[], $5::bigint[]) AS changes (tier, change)
GROUP BY tier ORDER BY tier
ON CONFLICT (tenant, source, tier, shard) DO UPDATE SET chunks = t.chunks + excluded.chunks
"""

VISIBLE = """
SELECT coalesce(sum(chunks), 0)::bigint FROM tallies
WHERE tenant = $1 AND tier <= $2 AND (cardinality($3::text[]) = 0 OR source = ANY($3))
"""

# Iterative scan: a filter (tenant, sources) that hides most of what HNSW finds makes it go on instead of returning
# fewer rows. Relaxed, since the strict order throws away what is found late: with 1 % visible it found 92 to 95 % of
# the true nearest, the relaxed one 99.7 % (20,000 chunks); the order is put right later. Sorting is made unattractive,
# so that the planner reads the graph, as the result will say, and does not sort a scan; what must be sorted still is.
TUNE_HNSW = """
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', $1, true),
    set_config('hnsw.max_scan_tuples', $2, true), set_config('enable_sort', 'off', true)
"""

#: How many chunks of the tenant tell which words are common with it. 256 tell 1 % from 5 %.
SAMPLE = 256


# A word of a statement's own, blinded: the text of a tsquery that holds nothing but it.
_BLINDED = blinded("word", inner="$8::bytea", outer="$9::bytea")


@lru_cache(maxsize=128)
def search(how: VectorSearch, *, dimensions: int, max_tier: Tier, some_sources: bool, tuning: Tuning) -> str:
    """Returns the one statement of a search: vectors, full text and their fusion.

    Parameters: $1 tenant, $2 vector (real[]), $3 question, $4 its terms (text[]), $5 how many passages, $6 how many
    chunks are visible, $7 its phrases (text[]), $8 and $9 the blinding's inner and outer pad; with `some_sources` $10
    the sources (text[]).
    """
    sources = "AND source = ANY($10)" if some_sources else ""
    nearest = {"exact": _nearest_exact, "hnsw": _nearest_hnsw}[how]
    return _search(nearest(dimensions, max_tier, sources, tuning.candidates), dimensions, max_tier, sources, tuning)


@lru_cache(maxsize=128)
def search_own(*, dimensions: int, own: int, max_tier: Tier, some_sources: bool, tuning: Tuning) -> str:
    """As `search`, the nearest by a tenant's own embedder, whose vectors have `own` dimensions.

    Two parameters more, behind the sources if there are any: the generation, and the vector by it (real[]).
    """
    sources = "AND source = ANY($10)" if some_sources else ""
    nearest = _nearest_own(own, max_tier, sources, tuning.candidates, first=11 if some_sources else 10)
    return _search(nearest, dimensions, max_tier, sources, tuning)


def _search(nearest: str, dimensions: int, max_tier: Tier, sources: str, tuning: Tuning) -> str:
    return _SEARCH.format(
        dimensions=dimensions,
        nearest=nearest,
        blinded=_BLINDED,
        sample=SAMPLE,
        text_matches=tuning.text_matches,
        max_tier=int(max_tier),
        sources=sources,
        candidates=tuning.candidates,
        rrf_k=tuning.rrf_k,
    )


def _nearest_exact(dimensions: int, max_tier: Tier, sources: str, candidates: int) -> str:
    """Adding 0 keeps the planner from the HNSW index: every visible chunk is looked at."""
    return f"""
    SELECT chunk_id, embedding::halfvec({dimensions}) <=> (SELECT vector FROM question) AS distance FROM chunks
    WHERE tenant = $1 AND tier <= {int(max_tier)} {sources}
    ORDER BY (embedding::halfvec({dimensions}) <=> (SELECT vector FROM question)) + 0 LIMIT {candidates}
    """  # noqa: S608 - our own integers


def _nearest_own(dimensions: int, max_tier: Tier, sources: str, candidates: int, *, first: int) -> str:
    """Looks at every vector of one generation. Whatever else the table holds is none of this search's."""
    asked = f"${first + 1}::real[]::halfvec({dimensions})"
    return f"""
    SELECT chunk_id, embedding::halfvec({dimensions}) <=> {asked} AS distance FROM trained_vectors
    WHERE tenant = $1 AND generation = ${first} AND tier <= {int(max_tier)} {sources}
    ORDER BY distance LIMIT {candidates}
    """  # noqa: S608 - our own integers


def _nearest_hnsw(dimensions: int, max_tier: Tier, sources: str, candidates: int) -> str:
    """One branch for each tier's index: a condition on several tiers fits none of the partial indexes."""
    branches = (
        f"""
        (SELECT chunk_id, embedding::halfvec({dimensions}) <=> (SELECT vector FROM question) AS distance FROM chunks
        WHERE tenant = $1 AND tier = {int(tier)} AND dimensions = {dimensions} {sources}
        ORDER BY embedding::halfvec({dimensions}) <=> (SELECT vector FROM question) LIMIT {candidates})
        """  # noqa: S608 - our own integers
        for tier in Tier
        if tier <= max_tier
    )
    return "UNION ALL".join(branches)


# The question's words are OR-ed. A passage's text score is the sum of ts_rank over the words, each weighed by how rare
# it is with the tenant (as in BM25): ts_rank_cd knows no rarity, and took 17 to 300 µs a chunk where this takes 2.
# Scoring tens of thousands of matches of a common word would still take longer than all the rest, so the rarest words
# that together match about `text_matches` chunks are looked up, and the next one where they match too few; every word
# scores what was matched. A sample tells how rare a word is: chunk_id is a hash, so the first in its order are random.
_SEARCH = """
WITH
question AS MATERIALIZED (
    SELECT $2::real[]::halfvec({dimensions}) AS vector
),
asked AS MATERIALIZED (
    (SELECT {blinded}::tsquery AS term FROM unnest(to_tsvector('english', $3)) AS words (word, places)
    ORDER BY places[1] LIMIT 32)
    UNION ALL
    SELECT {blinded}::tsquery FROM unnest($4::text[]) AS word
    UNION ALL
    SELECT string_agg({blinded}, ' | ')::tsquery FROM unnest($7::text[]) AS word HAVING count(*) > 0
),
sample AS MATERIALIZED (
    SELECT words FROM chunks WHERE tenant = $1 ORDER BY chunk_id LIMIT {sample}
),
weighed AS MATERIALIZED (
    SELECT term, seen, size, ln((size + 1)::float8 / (seen + 0.5)) AS weight
    FROM asked, LATERAL (SELECT count(*) AS size, count(*) FILTER (WHERE words @@ term) AS seen FROM sample) AS counts
),
terms AS MATERIALIZED (
    SELECT string_agg(term::text, ' | ') FILTER (WHERE expected <= {text_matches})::tsquery AS rare_words,
        (array_agg(term ORDER BY expected) FILTER (WHERE expected > {text_matches}))[1] AS next_word
    FROM (
        SELECT term, $6::bigint * sum(seen) OVER (ORDER BY seen, term::text) / size AS expected
        FROM weighed WHERE size > 0
    ) AS ordered
),
nearest AS MATERIALIZED (
    {nearest}
),
by_vector AS (
    SELECT chunk_id, row_number() OVER (ORDER BY distance, chunk_id) AS vector_rank FROM nearest
    ORDER BY distance, chunk_id LIMIT {candidates}
),
matching_rare AS MATERIALIZED (
    SELECT chunk_id, words FROM terms, chunks
    WHERE tenant = $1 AND tier <= {max_tier} {sources} AND words @@ rare_words
    LIMIT 2 * {text_matches}
),
matching_next AS MATERIALIZED (
    SELECT chunk_id, words FROM terms, chunks
    WHERE (SELECT count(*) FROM matching_rare) < {candidates}
        AND tenant = $1 AND tier <= {max_tier} {sources} AND words @@ next_word
    LIMIT {text_matches}
),
scored AS MATERIALIZED (
    SELECT chunk_id, (SELECT sum(weight * ts_rank(words, term)) FROM weighed) AS text_score
    FROM (
        SELECT * FROM matching_rare
        UNION ALL
        SELECT * FROM matching_next AS n WHERE NOT EXISTS (SELECT FROM matching_rare AS r WHERE r.chunk_id = n.chunk_id)
    ) AS matching
),
by_text AS (
    SELECT chunk_id, row_number() OVER (ORDER BY text_score DESC, chunk_id) AS text_rank FROM scored
    ORDER BY text_score DESC, chunk_id LIMIT {candidates}
),
fused AS (
    SELECT chunk_id, coalesce(vector_rank, 0) AS vector_rank, coalesce(text_rank, 0) AS text_rank,
        coalesce(1::float8 / ({rrf_k} + vector_rank), 0) + coalesce(1::float8 / ({rrf_k} + text_rank), 0) AS score
    FROM by_vector FULL JOIN by_text USING (chunk_id)
    ORDER BY score DESC, vector_rank NULLS LAST, chunk_id LIMIT $5
)
SELECT c.chunk_id, c.source, c.document_id, c.version, c.ordinal, c.labels, c.text, c.tier,
    f.score, 1 - (c.embedding::halfvec({dimensions}) <=> question.vector) AS similarity,
    f.vector_rank, f.text_rank
FROM question, fused AS f
JOIN chunks AS c ON c.tenant = $1 AND c.chunk_id = f.chunk_id
ORDER BY f.score DESC, f.vector_rank = 0, f.vector_rank, c.chunk_id
"""
