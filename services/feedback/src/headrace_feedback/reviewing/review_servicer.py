"""The gRPC edge of the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import grpc
from headrace.feedback.v1 import reviews_pb2, reviews_pb2_grpc
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_identity import Principal
from headrace_privacy import Erased, Text, Tier, Vault, strictest
from headrace_runtime.errors import NotFound, Rejected
from headrace_stream import Ledger, Unit

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.handlers import Door, locate, record_feedback, take_in
from headrace_feedback.opening import open_answer
from headrace_feedback.ports import Log
from headrace_feedback.reading import Desk
from headrace_feedback.recording import recorded_event
from headrace_feedback.reviewing.agreement import agreement_on
from headrace_feedback.reviewing.criteria import DEFAULT_RUBRIC
from headrace_feedback.reviewing.handlers import claim, the_rubric
from headrace_feedback.reviewing.ports import Books, Passages, Queue
from headrace_feedback.reviewing.queue import Claimed, Item, Labelling
from headrace_feedback.reviewing.sampling import Sampling
from headrace_feedback.reviewing.translate import (
    check_tenant,
    read_item,
    read_labels,
    read_query,
    read_sampling,
    to_item,
    to_rules,
    to_stats,
)
from headrace_feedback.translate import read_feedback, read_words

Context = grpc.aio.ServicerContext[Any, Any]

# The namespace of corrections by reviewers: the same words from the same reviewer count once.
_CORRECTIONS = UUID("6b0c4b52-6f0e-5f0e-9d9b-0a2f6a0a6f12")


@dataclass(frozen=True, slots=True)
class House:
    """What the edge needs: the queue, where words come in, where one asks to read, and what opens what may be read."""

    books: Books
    queue_on: Callable[[Unit], Queue]
    log_on: Callable[[Unit], Log]
    ledger: Ledger
    door: Door
    desk: Desk
    vault: Vault
    passages: Passages
    caller: Callable[[], Principal]
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]


class ReviewServicer(reviews_pb2_grpc.ReviewServiceServicer):
    """Serves headrace.feedback.v1.ReviewService."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def PutSampling(
        self, request: reviews_pb2.PutSamplingRequest, context: Context
    ) -> reviews_pb2.PutSamplingResponse:
        del context
        house, sampling = self._house, read_sampling(request)
        async with house.books.open(request.tenant) as (queue, rubrics):
            await the_rubric(request.tenant, sampling.rubric, 0, rubrics)
            await queue.put_sampling(request.tenant, sampling, by=house.caller().subject, at=house.now())
        return reviews_pb2.PutSamplingResponse()

    async def GetSampling(
        self, request: reviews_pb2.GetSamplingRequest, context: Context
    ) -> reviews_pb2.GetSamplingResponse:
        del context
        _check(request.tenant)
        async with self._house.books.open(request.tenant) as (queue, _):
            found = await queue.sampling(request.tenant) or Sampling()
        return reviews_pb2.GetSamplingResponse(
            rules=to_rules(found), rubric=found.rubric, reviewers=found.reviewers if found.rubric else 0
        )

    async def ClaimReview(
        self, request: reviews_pb2.ClaimReviewRequest, context: Context
    ) -> reviews_pb2.ClaimReviewResponse:
        del context
        _check(request.tenant)
        house, query_id = self._house, read_query(request.query_id)
        claimed = await claim(request.tenant, query_id, house.books, house.desk, by=house.caller(), now=house.now())
        try:
            return reviews_pb2.ClaimReviewResponse(item=await self._shown(claimed), waiting=claimed.waiting)
        except Erased:
            raise NotFound("review", str(claimed.item.query_id)) from None

    async def _shown(self, claimed: Claimed) -> reviews_pb2.ReviewItem:
        sealed = AnswerCompleted.FromString(claimed.logged.record)
        answer = open_answer(sealed, await self._house.vault.opener_for(sealed))
        cited = {citation.number: citation.chunk for citation in answer.citations}
        clearance = strictest(claimed.item.tier, *(Tier.of(chunk.tier) for chunk in cited.values()))
        texts = await self._house.passages.texts(
            claimed.item.tenant, [chunk.chunk_id for chunk in cited.values()], clearance=clearance
        )
        passages = [
            reviews_pb2.ReviewedPassage(number=number, title=chunk.title, text=texts.get(chunk.chunk_id, ""))
            for number, chunk in sorted(cited.items())
        ]
        return to_item(claimed, question=answer.question.plain, answer=answer.text.plain, passages=passages)

    async def ReleaseReview(
        self, request: reviews_pb2.ReleaseReviewRequest, context: Context
    ) -> reviews_pb2.ReleaseReviewResponse:
        del context
        _check(request.tenant)
        item_id = read_item(request.item_id)
        async with self._house.books.open(request.tenant) as (queue, _):
            if not await queue.release(request.tenant, item_id, self._house.caller().subject):
                raise _no_such(item_id)
        return reviews_pb2.ReleaseReviewResponse()

    async def LabelReview(
        self, request: reviews_pb2.LabelReviewRequest, context: Context
    ) -> reviews_pb2.LabelReviewResponse:
        del context
        house, labels, item_id = self._house, read_labels(request), read_item(request.item_id)
        item = await self._held(request.tenant, item_id, labels)
        comment = await self._kept(request.comment, item)
        correction = await self._correction(request.correction, item)
        labelling = Labelling(
            label_id=house.new_id(),
            item=item,
            reviewer=house.caller().subject,
            labels=labels,
            tier=strictest(item.tier, comment[0]) if comment else item.tier,
            comment=comment[1] if comment else None,
            labelled_at=house.now(),
            kind=request.kind,
        )
        return reviews_pb2.LabelReviewResponse(finished=await self._store(labelling, correction))

    async def _held(self, tenant: str, item_id: UUID, labels: Mapping[str, str]) -> Item:
        """An item that the caller may label: whoever does not hold it was never allowed to read it."""
        async with self._house.books.open(tenant) as (queue, rubrics):
            item = await queue.held(tenant, item_id, self._house.caller().subject, now=self._house.now())
            if item is None:
                raise _no_such(item_id)
            rubric = await the_rubric(tenant, item.rubric.name, int(item.rubric.version), rubrics)
        rubric.check_labels(labels)
        return item

    async def _kept(self, comment: str, item: Item) -> tuple[Tier, bytes] | None:
        """A comment masked, and sealed for whoever asked the question. Raises Unavailable."""
        if not comment:
            return None
        async with self._house.desk.reader.open(item.tenant) as log:
            known = await locate(Reference(item.tenant, item.query_id, ""), log)
        if known is None:
            raise _no_such(item.item_id)
        text = Text(comment, Tier.TIER_2)
        masked = await self._house.door.classifier.classify(text, tenant=item.tenant, product=known.product)
        return masked.tier, await self._house.door.keeper.keep(masked, known.owner)

    async def _correction(self, correction: str, item: Item) -> Feedback | None:
        """A correction, as feedback of the reviewer's."""
        if not correction:
            return None
        reviewer = self._house.caller().subject
        submitted = FeedbackSubmitted(
            feedback_id=str(uuid5(_CORRECTIONS, f"{item.item_id}/{reviewer}/{correction}")),
            tenant=item.tenant,
            query_id=str(item.query_id),
            subject=reviewer,
            correction=correction,
        )
        read = read_feedback(submitted, now=self._house.now())
        return await take_in(read, read_words(submitted), self._house.door)

    async def _store(self, labelling: Labelling, correction: Feedback | None) -> bool:
        """Labels and correction in one transaction. An item that was erased meanwhile is gone."""
        house, item = self._house, labelling.item
        async with house.ledger.unit(tenant=item.tenant) as unit:
            queue = house.queue_on(unit)
            if await queue.held(item.tenant, item.item_id, labelling.reviewer, now=labelling.labelled_at) is None:
                raise _no_such(item.item_id)
            if correction is not None:
                recording = await record_feedback(correction, house.log_on(unit), keeper=house.door.keeper)
                if recording.is_new:
                    unit.emit(recorded_event(recording))
            return await queue.label(labelling)

    async def GetReviewStats(
        self, request: reviews_pb2.GetReviewStatsRequest, context: Context
    ) -> reviews_pb2.GetReviewStatsResponse:
        del context
        _check(request.tenant)
        async with self._house.books.open(request.tenant) as (queue, rubrics):
            sampling = await queue.sampling(request.tenant) or Sampling()
            rubric = await the_rubric(request.tenant, request.rubric or sampling.rubric or DEFAULT_RUBRIC, 0, rubrics)
            standing = await queue.standing(request.tenant, now=self._house.now())
            counted = await queue.labels(request.tenant, rubric.name, rubric.version)
        return to_stats(standing, [agreement_on(criterion, counted.by_answer) for criterion in rubric.criteria])


def _check(tenant: str) -> None:
    if violations := list(check_tenant(tenant)):
        raise Rejected(*violations)


def _no_such(item_id: UUID) -> NotFound:
    return NotFound("review", str(item_id))
