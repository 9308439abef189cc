"""The index in Postgres with pgvector."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import Any

from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_runtime.errors import Conflict

from headrace_retriever.adapters import statements
from headrace_retriever.adapters.generations import fill_in, hold_with_others, read_live, read_state
from headrace_retriever.adapters.rows import passage_of, read_embedder
from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import (
    Change,
    Chunk,
    Document,
    Embedder,
    Found,
    Indexed,
    Listed,
    Listing,
    Passage,
    Place,
    Question,
    Tuning,
    VectorSearch,
    Wanted,
    chunk_id,
    require_same,
)
from headrace_retriever.generations import SEARCHABLE, Filling, Moved
from headrace_retriever.words import as_tsvector, chunk_terms, question_phrases, question_terms

SHARDS = 16


class PostgresIndex:
    """Searches the schema `retriever`."""

    def __init__(self, database: Database, *, tuning: Tuning) -> None:
        self._database = database
        self._tuning = tuning

    async def search(self, question: Question, *, blinding: Blinding) -> Found:
        """Returns the best passages of the tenant, all from one snapshot: nobody sees half of a change.

        Runs as the database role of the asker's clearance. Raises what ports.Index.search raises.
        """
        async with self._database.snapshot(tenant=question.tenant, clearance=question.max_tier) as connection:
            embedder = await read_embedder(connection)
            if embedder is None:
                return replace(self._found(question, (), "exact"), embedder=None)
            require_same(embedder, question.embedder)
            await _check_generation(connection, question)
            visible = await self._count_visible(connection, question)
            how: VectorSearch = "exact" if question.own or visible < self._tuning.exact_below else "hnsw"
            passages = await self._fetch(connection, self.statement(question, how, visible, blinding=blinding), how)
        return self._found(question, passages, how)

    async def fetch(self, wanted: Wanted) -> tuple[Passage, ...]:
        """Returns those of the wanted passages that are there, as the database role of their clearance sees them."""
        async with self._database.transaction(tenant=wanted.tenant, clearance=wanted.max_tier) as connection:
            with statement("SELECT chunks", operation="SELECT", collection="chunks") as current:
                rows = await connection.fetch(
                    statements.FETCH_CHUNKS, wanted.tenant, list(wanted.chunk_ids), int(wanted.max_tier)
                )
                current.set_attribute("db.response.returned_rows", len(rows))
        return tuple(passage_of(row, wanted.tenant) for row in rows)

    async def list(self, listing: Listing) -> Listed:
        """Returns the next passages of a source, as the database role of their clearance sees them."""
        after = listing.after or Place("", -1)
        place, limits = (after.document_id, after.ordinal), (int(listing.max_tier), listing.most + 1)
        async with self._database.transaction(tenant=listing.tenant, clearance=listing.max_tier) as connection:
            with statement("SELECT chunks", operation="SELECT", collection="chunks") as current:
                rows = await connection.fetch(statements.LIST_CHUNKS, listing.tenant, listing.source, *place, *limits)
                current.set_attribute("db.response.returned_rows", len(rows))
        passages = tuple(passage_of(row, listing.tenant) for row in rows[: listing.most])
        return Listed(passages, has_more=len(rows) > listing.most)

    async def _count_visible(self, connection: Connection, question: Question) -> int:
        sources = list(question.sources)
        return int(await connection.fetchval(statements.VISIBLE, question.tenant, question.max_tier, sources))

    async def _fetch(self, connection: Connection, search: tuple[Any, ...], how: VectorSearch) -> tuple[Passage, ...]:
        if how == "hnsw":
            tuning = self._tuning
            await connection.execute(statements.TUNE_HNSW, str(tuning.ef_search), str(tuning.scan_tuples))
        with statement("SELECT chunks", operation="SELECT", collection="chunks") as current:
            rows = await connection.fetch(*search)
            current.set_attribute("db.response.returned_rows", len(rows))
        tenant = search[1]
        return tuple(passage_of(row, tenant) for row in rows)

    def statement(self, question: Question, how: VectorSearch, visible: int, *, blinding: Blinding) -> tuple[Any, ...]:
        """Returns a search's statement and its parameters, the tenant first."""
        text = question.text.reveal()
        parameters = (question.tenant, question.vector.tolist(), text, question_terms(text), question.top_k, visible)
        sources = [list(question.sources)] if question.sources else []
        own = [question.own.generation, question.own.vector.tolist()] if question.own else []
        words = (question_phrases(text), blinding.inner, blinding.outer)
        return (self._sql(question, how), *parameters, *words, *sources, *own)

    def _sql(self, question: Question, how: VectorSearch) -> str:
        tuning = replace(self._tuning, candidates=self._candidates(question))
        dimensions, some_sources = question.embedder.dimensions, bool(question.sources)
        if question.own is None:
            return statements.search(
                how, dimensions=dimensions, max_tier=question.max_tier, some_sources=some_sources, tuning=tuning
            )
        return statements.search_own(
            dimensions=dimensions,
            own=question.own.embedder.dimensions,
            max_tier=question.max_tier,
            some_sources=some_sources,
            tuning=tuning,
        )

    def _found(self, question: Question, passages: tuple[Passage, ...], how: VectorSearch) -> Found:
        candidates, by = self._candidates(question), question.searched_by
        return Found(passages, question.top_k, candidates, self._tuning.rrf_k, how, by)

    def _candidates(self, question: Question) -> int:
        return max(self._tuning.candidates, question.top_k)


async def _check_generation(connection: Connection, question: Question) -> None:
    """Holds a question's own vector against how generations stand in this snapshot. Raises Moved, Conflict."""
    match question.by:
        case "live":
            live = await read_live(connection, question.tenant)
            if (live.number if live else None) != question.believed_live:
                raise Moved(live)
        case "trial":
            assert question.own is not None
            state = await read_state(connection, question.tenant, question.own.generation)
            if state not in SEARCHABLE:
                raise Conflict(f"the index of {question.own.embedder.name} is {state or 'gone'}, not ready")
        case "house":
            pass


class PostgresShelf:
    """Puts documents into the schema `retriever`, in the caller's transaction, which has named the tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def apply(self, change: Change, *, blinding: Blinding, now: datetime) -> Indexed | None:
        """Puts a document in place of what its id held, and reads back what is there.

        Returns None, having changed nothing, when the index holds this version or a newer one, tombstones included.
        Raises what ports.Shelf.apply raises.
        """
        own = None
        if change.chunks:
            require_same(await self._adopt(change.embedder), change.embedder)
            own = await self._own(change)
        if not await self._put_document(change, now):
            return None
        key = _key(change.document)
        gone = await self._connection.fetch(statements.CLEAR_CHUNKS, *key)
        await self._put_chunks(change, blinding)
        if own is not None:
            await fill_in(self._connection, own)
        count = int(await self._connection.fetchval(statements.COUNT_CHUNKS, *key, change.document.version))
        await self._add_to_tally(change, count=count, gone={row["tier"]: row["chunks"] for row in gone})
        return Indexed(change, count, now)

    async def _own(self, change: Change) -> Filling | None:
        """What goes into the live generation, which stays so until the transaction ends. Raises Moved."""
        tenant, own = change.document.tenant, change.own
        await hold_with_others(self._connection, tenant)
        live = await read_live(self._connection, tenant)
        if own is not None and own.generation is None:
            return None
        if (live.number if live else None) != (own.generation if own else None):
            raise Moved(live)
        if live is None or own is None or not own.vectors:
            return None
        ids = (chunk_id(change.document, chunk.ordinal) for chunk in change.chunks)
        return Filling(live, dict(zip(ids, own.vectors, strict=True)))

    async def _adopt(self, embedder: Embedder) -> Embedder:
        """Returns the index's embedder; the first to write becomes it."""
        known = await read_embedder(self._connection)
        if known is None:
            await self._require_graphs(embedder)
            await self._connection.execute(statements.ADOPT, embedder.name, embedder.dimensions, embedder.hash)
            known = await read_embedder(self._connection)
        assert known is not None
        return known

    async def _require_graphs(self, embedder: Embedder) -> None:
        if not await self._connection.fetchval(statements.HAS_GRAPHS, embedder.dimensions):
            raise Conflict(
                f"the index has no graphs for vectors of {embedder}: as the owner of its tables, run"
                f" SELECT retriever.make_graphs({embedder.dimensions})"
            )

    async def _put_document(self, change: Change, now: datetime) -> bool:
        document = change.document
        values = (*_key(document), document.version, change.tier, not change.chunks, now)
        return await self._connection.fetchval(statements.PUT_DOCUMENT, *values) is not None

    async def _put_chunks(self, change: Change, blinding: Blinding) -> None:
        with statement("INSERT chunks", operation="INSERT", collection="chunks"):
            rows = [(*_chunk_row(change, chunk), blinding.inner, blinding.outer) for chunk in change.chunks]
            await self._connection.executemany(statements.PUT_CHUNK, rows)

    async def _add_to_tally(self, change: Change, *, count: int, gone: dict[int, int]) -> None:
        document = change.document
        changes = Counter({int(change.tier): count})
        changes.subtract(gone)
        shard = shard_of(document.document_id)
        tiers, amounts = list(changes), list(changes.values())
        await self._connection.execute(statements.ADD_TO_TALLY, document.tenant, document.source, shard, tiers, amounts)


def shard_of(document_id: str) -> int:
    """Returns which shard of the tallies counts a document's chunks."""
    return zlib.crc32(document_id.encode()) % SHARDS


def _key(document: Document) -> tuple[str, str, str]:
    return document.tenant, document.source, document.document_id


def _chunk_row(change: Change, chunk: Chunk) -> tuple[object, ...]:
    document, text = change.document, chunk.text.reveal()
    headings = "\n".join((change.title, *chunk.headings))
    return (
        *_key(document),
        document.version,
        change.tier,
        chunk.ordinal,
        chunk_id(document, chunk.ordinal),
        chunk.tokens,
        chunk.resting.labels,
        chunk.resting.text,
        chunk.vector.tolist(),
        headings,
        text,
        as_tsvector(chunk_terms(f"{headings}\n{text}")),
    )
