"""Opening answers to measure them: only what was allowed a moment ago, and only for as long as it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.privacy.v1.privacy_pb2 import ProtectedText, SealedBytes
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace_privacy import Erased, Opener, Tier, Vault

from headrace_feedback.evaluating.measuring import Passage, Subject, Words
from headrace_feedback.evaluating.ports import Neighbours
from headrace_feedback.evaluating.reference import Reference
from headrace_feedback.opening import OpenPassage, open_passage, open_text


@dataclass(frozen=True, slots=True)
class Reader:
    """Where words come from."""

    vault: Vault
    neighbours: Neighbours

    async def read(self, tenant: str, subjects: Sequence[Subject]) -> Mapping[UUID, Words]:
        """The words of answers; those that are erased are missing. Raises Unavailable."""
        answers = {one.query_id: AnswerCompleted.FromString(one.interaction.record) for one in subjects}
        chunks = await self._chunks(tenant, subjects)
        references = {one.query_id: SealedBytes.FromString(one.reference) for one in subjects if one.reference}
        opener = await self.vault.opener_for(*answers.values(), *chunks.values(), *references.values())
        opened: dict[UUID, Words] = {}
        for one in subjects:
            try:
                opened[one.query_id] = self._open(one, answers[one.query_id], chunks, references, opener)
            except Erased:
                continue
        return await self._compared(opened)

    async def _chunks(self, tenant: str, subjects: Sequence[Subject]) -> Mapping[str, RetrievedChunk]:
        """All chunks that these answers' models had, as far as they are indexed."""
        wanted = sorted(
            {chunk.chunk_id for one in subjects for chunk in one.interaction.chunks if _is_uuid(chunk.chunk_id)}
        )
        if self.neighbours.passages is None or not wanted:
            return {}
        clearance = max((one.tier for one in subjects), default=Tier.PUBLIC)
        fetched = await self.neighbours.passages.fetch(tenant, wanted, clearance=clearance)
        return {chunk.reference.chunk_id: chunk for chunk in fetched}

    def _open(
        self,
        subject: Subject,
        answer: AnswerCompleted,
        chunks: Mapping[str, RetrievedChunk],
        references: Mapping[UUID, SealedBytes],
        opener: Opener,
    ) -> Words:
        reference = references.get(subject.query_id)
        return Words(
            question=open_text(answer.question, opener),
            answer=open_text(answer.text, opener),
            passages=_passages(answer, chunks, opener) if self.neighbours.passages else None,
            reference=to_reference(DatasetRow.FromString(opener.open(reference))) if reference else None,
        )

    async def _compared(self, opened: Mapping[UUID, Words]) -> Mapping[UUID, Words]:
        """With each answer's cosine to its question, where there is an embedder and something to embed."""
        full = {
            identity: words for identity, words in opened.items() if words.question.strip() and words.answer.strip()
        }
        if self.neighbours.embedder is None or not full:
            return opened
        texts = [text for words in full.values() for text in (words.question, words.answer)]
        vectors = await self.neighbours.embedder.embed(texts)
        cosines = [float(np.dot(one, other)) for one, other in zip(vectors[::2], vectors[1::2], strict=True)]
        compared = {
            identity: replace(words, similarity=cosine)
            for (identity, words), cosine in zip(full.items(), cosines, strict=True)
        }
        return {**opened, **compared}


@dataclass(frozen=True, slots=True)
class OpenPassages:
    """The passages that answers cite, in the clear, for whoever was allowed to read them; see reviewing.ports."""

    vault: Vault
    neighbours: Neighbours

    async def texts(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, str]:
        """Their texts alone."""
        found = await self.indexed(tenant, chunk_ids, clearance=clearance)
        return {identity: passage.text for identity, passage in found.items()}

    async def indexed(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, OpenPassage]:
        """Those that are still indexed, by id; the others are left out. Raises Unavailable."""
        wanted = [identity for identity in chunk_ids if _is_uuid(identity)]
        if self.neighbours.passages is None or not wanted:
            return {}
        chunks = await self.neighbours.passages.fetch(tenant, wanted, clearance=clearance)
        opener = await self.vault.opener_for(*chunks)
        opened = {}
        for chunk in chunks:
            with suppress(Erased):
                opened[chunk.reference.chunk_id] = open_passage(chunk, opener)
        return opened


def to_reference(row: DatasetRow) -> Reference:
    """Reads what a dataset's row knows."""
    return Reference(
        answer=row.answer,
        facts=tuple(row.key_facts),
        documents=frozenset(row.documents),
        answerable=not row.unanswerable,
    )


def _passages(
    answer: AnswerCompleted, chunks: Mapping[str, RetrievedChunk], opener: Opener
) -> tuple[Passage, ...] | None:
    """The passages in the order of the answer's own list. One that is erased or gone is left out; None where a cited
    one is: nobody can tell any more whether it bore the answer out."""
    numbers: dict[str, list[int]] = {}
    for citation in answer.citations:
        numbers.setdefault(citation.chunk.chunk_id, []).append(citation.number)
    ids = dict.fromkeys([*(chunk.chunk_id for chunk in answer.retrieved), *numbers])
    found = [(identity, chunks[identity].text) for identity in ids if identity in chunks]
    opened = {identity: text for identity, content in found if (text := _opened(content, opener)) is not None}
    if not numbers.keys() <= opened.keys():
        return None
    return tuple(Passage(text, tuple(numbers.get(identity, ()))) for identity, text in opened.items())


def _opened(content: ProtectedText, opener: Opener) -> str | None:
    try:
        return open_text(content, opener)
    except Erased:
        return None


def _is_uuid(identity: str) -> bool:
    try:
        UUID(identity)
    except ValueError:
        return False
    return True
