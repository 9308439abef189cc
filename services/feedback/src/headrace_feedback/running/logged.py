"""Logged queries as cases: the question as it rests, to be asked again in the name of whoever asked it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryClassified
from headrace_privacy import Text, Tier, Vault, is_sealed, owner_of_query
from headrace_stream import Ledger, Unit

from headrace_feedback.running.capping import capped
from headrace_feedback.running.ports import Original, Questions
from headrace_feedback.running.runs import Candidate, Case, Wish


@dataclass(frozen=True, slots=True)
class LoggedCases:
    """See ports.Cases: what a wish fits. open_to: what whoever asks may evaluate without a grant."""

    tenant: str
    wish: Wish
    ledger: Ledger
    questions_on: Callable[[Unit], Questions]
    vault: Vault
    open_to: Tier = Tier.PUBLIC

    async def candidates(self, *, limit: int, seed: int) -> Sequence[Candidate]:
        """See ports.Cases."""
        async with self.ledger.unit(tenant=self.tenant) as unit:
            return await self.questions_on(unit).candidates(self.tenant, self.wish, limit=limit, seed=seed)

    async def read(self, unit: Any, candidates: Sequence[Candidate], *, first: int) -> Sequence[Case]:
        """See ports.Cases."""
        wanted = [UUID(one.case_id) for one in candidates]
        found = {str(one.query_id): one for one in await self.questions_on(unit).originals(self.tenant, wanted)}
        there = [one for one in candidates if one.case_id in found]
        return [await self._case(one, found[one.case_id], place) for place, one in enumerate(there, start=first)]

    async def _case(self, candidate: Candidate, original: Original, place: int) -> Case:
        answer = AnswerCompleted.FromString(original.record)
        question = await self._question(answer, candidate.tier)
        return Case(
            case_id=candidate.case_id,
            place=place,
            tier=candidate.tier,
            subject=answer.query.subject,
            kind=original.kind,
            sources=candidate.sources,
            documents=tuple(original.documents),
            of_time=original.completed_at,
            question=question.SerializeToString(),
        )

    async def _question(self, answer: AnswerCompleted, tier: Tier) -> QueryClassified:
        """The question as it was classified. Its tier is the answer's, which is never less. `tier` is the case's."""
        query = capped(answer.query, tier, self.open_to)
        query.ClearField("hops")
        query.ClearField("trial")
        return QueryClassified(query=query, text=await self._sealed_if_strict(answer), tier=answer.tier)

    async def _sealed_if_strict(self, answer: AnswerCompleted) -> ProtectedText:
        """An answer can be stricter than its question, of what it cites; what travels under that tier is sealed."""
        tier = Tier.of(answer.tier)
        if tier is not Tier.TIER_2 or is_sealed(answer.question):
            return answer.question
        seal = await self.vault.seal_for(owner_of_query(answer.query))
        return seal.protect(Text(answer.question.plain, tier))
