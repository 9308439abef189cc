"""Rows of documents: the passages of whole sources, for continued pre-training.

retriever ─▶ page, sealed as it rests ─▶ policy, grants, audit, tier by tier ─▶ opened, measured, sealed anew
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace_identity import Principal
from headrace_privacy import Erased, Opener, Owner, Seal, Tier, Vault
from headrace_privacy.policy import Policy

from headrace_feedback.datasets.ports import Documents
from headrace_feedback.datasets.shelf import Sealed
from headrace_feedback.datasets.similarity import Vocabulary, words_of
from headrace_feedback.datasets.snapshots import DOCUMENT, NEVER, Exclusion, Order, Row
from headrace_feedback.datasets.words import Hasher, Taken, closed
from headrace_feedback.opening import open_text
from headrace_feedback.reading import Leave, reason_of
from headrace_feedback.uses import Use

#: Says why so many passages of a tier are left out.
LeaveOut = Callable[[Exclusion, Tier, int], None]


@dataclass(frozen=True, slots=True)
class Page:
    """Some passages of a source. seen: how many there were; allowed: those that may be rows, each with its grant."""

    seen: int
    allowed: Sequence[tuple[RetrievedChunk, str]]


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources that a snapshot is built of, and who builds it."""

    order: Order
    documents: Documents
    leave: Leave
    policy: Policy
    by: Principal
    leave_out: LeaveOut

    async def pages(self) -> AsyncIterator[Page]:
        """Goes through all of them. Raises Denied when a grant ends on the way."""
        for source in self.order.wanted.document_sources:
            token, is_first = "", True
            while token or is_first:
                chunks, token = await self.documents.page(self.order.tenant, source, token=token)
                yield Page(len(chunks), await self._allowed(source, chunks))
                is_first = False

    async def _allowed(self, source: str, chunks: Sequence[RetrievedChunk]) -> list[tuple[RetrievedChunk, str]]:
        by_tier: dict[Tier, list[RetrievedChunk]] = {}
        for chunk in chunks:
            by_tier.setdefault(Tier.of(chunk.reference.tier), []).append(chunk)
        grants = {tier: await self._grant(source, tier, members) for tier, members in by_tier.items()}
        granted = ((chunk, grants[Tier.of(chunk.reference.tier)]) for chunk in chunks)
        return [(chunk, grant_id) for chunk, grant_id in granted if grant_id is not None]

    async def _grant(self, source: str, tier: Tier, chunks: Sequence[RetrievedChunk]) -> str | None:
        """The grant that these passages are read under, "" where the policy alone allows it; None: they are not."""
        if tier > self.order.wanted.max_tier:
            self.leave_out("over_tier", tier, len(chunks))
            return None
        use = self._use(source, tier, chunks)
        verdict = await self.leave.ask(use)
        if not verdict.allowed:
            self.leave_out(reason_of(use, self.policy), tier, len(chunks))
            return None
        return verdict.grant_id

    def _use(self, source: str, tier: Tier, chunks: Sequence[RetrievedChunk]) -> Use:
        return Use(
            role=self.by.role,
            subject=self.by.subject,
            tenant=self.order.tenant,
            purpose=self.order.wanted.purpose,
            tier=tier,
            sources=(source,),
            records=tuple(chunk.reference.chunk_id for chunk in chunks),
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A passage that may be read, and the key to seal it with."""

    chunk: RetrievedChunk
    grant_id: str
    seal: Seal


async def prepare(
    allowed: Sequence[tuple[RetrievedChunk, str]], vault: Vault, *, tenant: str
) -> tuple[list[Prepared], Opener, list[RetrievedChunk]]:
    """Fetches the keys of passages: to open them, and to seal them anew under their documents' owners. Returns those
    that are erased apart."""
    opener = await vault.opener_for(*(chunk.text for chunk, _ in allowed))
    prepared: list[Prepared] = []
    erased: list[RetrievedChunk] = []
    for chunk, grant_id in allowed:
        owner = Owner.document(tenant, chunk.reference.source, chunk.reference.document_id)
        try:
            prepared.append(Prepared(chunk, grant_id, await vault.seal_like(chunk.text, owner)))
        except Erased:
            erased.append(chunk)
    return prepared, opener, erased


@dataclass(frozen=True, slots=True)
class PassageTaker:
    """Makes rows of passages. now: when they are read. Pure, and slow: not on the loop."""

    hasher: Hasher
    vocabulary: Vocabulary
    now: datetime

    def take(self, prepared: Sequence[Prepared], opener: Opener) -> tuple[list[Taken], list[RetrievedChunk]]:
        """Returns the rows, and what turned out to be erased."""
        taken: list[Taken] = []
        erased: list[RetrievedChunk] = []
        for one in prepared:
            try:
                taken.append(self._take(one, opener))
            except Erased:
                erased.append(one.chunk)
        return taken, erased

    def _take(self, one: Prepared, opener: Opener) -> Taken:
        reference = one.chunk.reference
        document = f"{reference.source}/{reference.document_id}"
        content = DatasetRow(text=open_text(one.chunk.text, opener), documents=[document])
        row = Row(
            row_id=reference.chunk_id,
            kind=DOCUMENT,
            tier=Tier.of(reference.tier),
            content_hash=self.hasher.content(content),
            # Not now: the same passages again are the same snapshot.
            completed_at=NEVER,
            asked_at=self.now,
            sources=(reference.source,),
            documents=(document,),
            cited=(document,),
            grant_id=one.grant_id,
            is_passage=True,
        )
        numbers = self.vocabulary.numbers(words_of(content.text))
        sealed = Sealed(closed(content.SerializeToString(), one.seal), b"", numbers)
        return Taken(row, sealed, self.vocabulary.trigrams(numbers))
