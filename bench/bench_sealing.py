"""What sealing adds to a query: every opening and sealing on its way, with the keys at hand.

The way is that of a question of an end user, answered in three sentences from eight passages of customers' documents,
two of which are cited. The peer does the same with all of it public, which is the same code and no cipher.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median, quantiles

from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted, Citation
from headrace.query.v1.events_pb2 import QueryAccepted, QueryClassified, QueryEmbedded, QueryRetrieved
from headrace.query.v1.query_pb2 import Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_privacy import Owner, Text, Tier, Vault, owner_of_query
from headrace_privacy.memory import MemoryKeyring

from bench.harness import Budget, Row

GROUP = "sealing"
QUESTION = "What does our agreement with the northern mills say about the height of the weir in spring?"
PASSAGE = "The height of the weir is set by the keeper of the upper mill, and no gate is opened before the melt. " * 8
SENTENCE = "The height of the weir is set by the keeper of the upper mill, and no gate is opened before the melt [1]."
PASSAGES, SENTENCES, CITED, DIMENSIONS = 8, 3, 2, 384
#: What a query may cost more, in milliseconds.
GOAL_MS = 2.0


@dataclass(frozen=True, slots=True)
class Way:
    """A query's way through the services, each with a vault of its own over one keyring."""

    query: Query
    chunks: tuple[RetrievedChunk, ...]
    tier: Tier
    ingest: Vault
    classifier: Vault
    embedder: Vault
    retriever: Vault
    inference: Vault

    async def once(self) -> float:
        """Returns the milliseconds of all that opens and seals on the way."""
        begin = time.perf_counter()
        classified = await self._classified(await self._accepted())
        retrieved = await self._retrieved(await self._embedded(classified))
        chunks, completed = await self._completed(retrieved)
        await self._shown(chunks, completed)
        return (time.perf_counter() - begin) * 1000

    async def _accepted(self) -> QueryAccepted:
        seal = await self.ingest.seal_for(owner_of_query(self.query))
        return QueryAccepted(query=self.query, raw=seal.protect(Text(QUESTION, self.tier)))

    async def _classified(self, accepted: QueryAccepted) -> QueryClassified:
        opener = await self.classifier.opener_for(accepted)
        text = opener.reveal(accepted.raw, self.tier)
        seal = await self.classifier.seal_like(accepted.raw, owner_of_query(accepted.query))
        return QueryClassified(query=accepted.query, text=seal.protect(text), tier=_wire(self.tier))

    async def _embedded(self, classified: QueryClassified) -> QueryEmbedded:
        opener = await self.embedder.opener_for(classified)
        opener.reveal(classified.text, self.tier)
        seal = await self.embedder.seal_like(classified.text, owner_of_query(classified.query))
        vector = seal.protect_vector(bytes(4 * DIMENSIONS), self.tier)
        return QueryEmbedded(query=classified.query, text=classified.text, tier=classified.tier, vector=vector)

    async def _retrieved(self, embedded: QueryEmbedded) -> QueryRetrieved:
        opener = await self.retriever.opener_for(embedded)
        opener.reveal(embedded.text, self.tier)
        opener.reveal_vector(embedded.vector)
        return QueryRetrieved(
            query=embedded.query, text=embedded.text, tier=embedded.tier, vector=embedded.vector, chunks=self.chunks
        )

    async def _completed(self, retrieved: QueryRetrieved) -> tuple[list[AnswerChunk], AnswerCompleted]:
        opener = await self.inference.opener_for(retrieved)
        opener.reveal(retrieved.text, self.tier)
        for chunk in retrieved.chunks:
            opener.open_labels(chunk.reference)
            opener.reveal(chunk.text, self.tier)
        seal = await self.inference.seal_like(retrieved.text, owner_of_query(retrieved.query))
        chunks = [AnswerChunk(text=seal.protect(Text(SENTENCE, self.tier))) for _ in range(SENTENCES)]
        references = [chunk.reference for chunk in retrieved.chunks]
        completed = AnswerCompleted(
            query=retrieved.query,
            question=retrieved.text,
            text=seal.protect(Text(SENTENCE * SENTENCES, self.tier)),
            tier=_wire(self.tier),
            citations=[Citation(number=n + 1, chunk=references[n]) for n in range(CITED)],
            retrieved=references,
        )
        return chunks, completed

    async def _shown(self, chunks: list[AnswerChunk], completed: AnswerCompleted) -> None:
        for chunk in chunks:
            (await self.ingest.opener_for(chunk)).reveal(chunk.text, self.tier)
        opener = await self.ingest.opener_for(completed)
        opener.reveal(completed.text, self.tier)
        for citation in completed.citations:
            opener.readable_labels(citation.chunk)


def rows(budget: Budget) -> list[Row]:
    """Measures the way sealed and public, by turns."""
    return [asyncio.run(_row(budget.pick(quick=200, full=3_000)))]


async def _row(count: int) -> Row:
    sealed, public = await _way(Tier.TIER_2, "user-17"), await _way(Tier.PUBLIC, "")
    for way in (sealed, public):
        await way.once()
    pairs = [(await sealed.once(), await public.once()) for _ in range(count)]
    mine, theirs = [median(column) for column in zip(*pairs, strict=True)]
    worst = quantiles([first - second for first, second in pairs], n=100)[98]
    return Row(
        GROUP, "added to a query by sealing, p50", mine - theirs, None, "ms", None, goal=GOAL_MS,
        higher_is_better=False, goal_of="ours",
        note=f"all openings and sealings, keys at hand; p99 {worst:.2f} ms",
        extra={"sealed_ms": mine, "public_ms": theirs, "p99_ms": worst, "passages": PASSAGES},
    )  # fmt: skip


async def _way(tier: Tier, subject: str) -> Way:
    keyring = MemoryKeyring()
    query = Query(query_id="q", tenant="bench", product="bench", subject=subject)
    query.accepted_at.FromDatetime(datetime.now(UTC))
    chunks = tuple([await _chunk(keyring, number, tier) for number in range(PASSAGES)])
    return Way(query, chunks, tier, *(Vault(keyring, clock=time.monotonic) for _ in range(5)))


async def _chunk(keyring: MemoryKeyring, number: int, tier: Tier) -> RetrievedChunk:
    """A passage of a document of its own: each has its own key."""
    seal = await Vault(keyring, clock=time.monotonic).seal_for(Owner.document("bench", "contracts", f"{number}.md"))
    reference = ChunkReference(chunk_id=str(number), title="The northern mills", headings=["Weirs", "In spring"])
    return RetrievedChunk(reference=seal.seal_labels(reference, tier), text=seal.protect(Text(PASSAGE, tier)))


def _wire(tier: Tier) -> privacy_pb2.Tier.ValueType:
    return privacy_pb2.Tier.ValueType(tier)
