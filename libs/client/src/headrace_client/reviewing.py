"""The part of the client for experts: rubrics, the queue of answers to look at, and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headrace.feedback.v1 import reviews_pb2, rubrics_pb2
from headrace.feedback.v1.reviews_pb2_grpc import ReviewServiceStub
from headrace.feedback.v1.rubrics_pb2_grpc import RubricServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.feedback.v1.reviews_pb2_grpc import ReviewServiceAsyncStub
    from headrace.feedback.v1.rubrics_pb2_grpc import RubricServiceAsyncStub

#: Seconds that a call may take.
_CALL_TIMEOUT = 30.0


class Reviewing:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def put_rubric(
        self, rubric: rubrics_pb2.Rubric, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> rubrics_pb2.PutRubricResponse:
        """Stores a version of a rubric; word for word the same keeps its number."""
        callee, stub = self._rubrics()
        request = rubrics_pb2.PutRubricRequest(tenant=tenant, rubric=rubric)
        return await callee.unary(stub.PutRubric, request, name="PutRubric", timeout=timeout)

    async def rubric(
        self, name: str, *, tenant: str, version: int = 0, timeout: float = _CALL_TIMEOUT
    ) -> rubrics_pb2.Rubric:
        """One version; 0 is the newest."""
        callee, stub = self._rubrics()
        request = rubrics_pb2.GetRubricRequest(tenant=tenant, name=name, version=version)
        return (await callee.unary(stub.GetRubric, request, name="GetRubric", timeout=timeout)).rubric

    async def rubrics(self, *, tenant: str, name: str = "", timeout: float = _CALL_TIMEOUT) -> list[rubrics_pb2.Rubric]:
        """All versions of one name, or the newest of each."""
        callee, stub = self._rubrics()
        request = rubrics_pb2.ListRubricsRequest(tenant=tenant, name=name)
        return list((await callee.unary(stub.ListRubrics, request, name="ListRubrics", timeout=timeout)).rubrics)

    async def put_sampling(
        self,
        rules: Sequence[reviews_pb2.SamplingRule],
        *,
        tenant: str,
        rubric: str,
        reviewers: int = 1,
        timeout: float = _CALL_TIMEOUT,
    ) -> None:
        """Says which answers come into the queue. Replaces what was said before."""
        callee, stub = self._reviews()
        request = reviews_pb2.PutSamplingRequest(tenant=tenant, rules=rules, rubric=rubric, reviewers=reviewers)
        await callee.unary(stub.PutSampling, request, name="PutSampling", timeout=timeout)

    async def sampling(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> reviews_pb2.GetSamplingResponse:
        """What was said last."""
        callee, stub = self._reviews()
        request = reviews_pb2.GetSamplingRequest(tenant=tenant)
        return await callee.unary(stub.GetSampling, request, name="GetSampling", timeout=timeout)

    async def claim_review(
        self, *, tenant: str, query_id: str = "", timeout: float = _CALL_TIMEOUT
    ) -> reviews_pb2.ClaimReviewResponse:
        """Takes the next answer, or the one to this query, for half an hour."""
        callee, stub = self._reviews()
        request = reviews_pb2.ClaimReviewRequest(tenant=tenant, query_id=query_id)
        return await callee.unary(stub.ClaimReview, request, name="ClaimReview", timeout=timeout)

    async def release_review(self, item_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> None:
        """Gives one back unlabelled."""
        callee, stub = self._reviews()
        request = reviews_pb2.ReleaseReviewRequest(tenant=tenant, item_id=item_id)
        await callee.unary(stub.ReleaseReview, request, name="ReleaseReview", timeout=timeout)

    async def label_review(
        self,
        item_id: str,
        labels: Mapping[str, str],
        *,
        tenant: str,
        comment: str = "",
        correction: str = "",
        kind: str = "",
        timeout: float = _CALL_TIMEOUT,
    ) -> bool:
        """Labels an answer, criterion by criterion; says whether it has all the labels that it needs. kind: of the
        query; "" says nothing of it."""
        callee, stub = self._reviews()
        request = reviews_pb2.LabelReviewRequest(
            tenant=tenant,
            item_id=item_id,
            labels=[reviews_pb2.CriterionLabel(criterion=name, label=label) for name, label in labels.items()],
            comment=comment,
            correction=correction,
            kind=kind,
        )
        return (await callee.unary(stub.LabelReview, request, name="LabelReview", timeout=timeout)).finished

    async def review_stats(
        self, *, tenant: str, rubric: str = "", timeout: float = _CALL_TIMEOUT
    ) -> reviews_pb2.GetReviewStatsResponse:
        """How full the queue is, and how far the reviewers agree."""
        callee, stub = self._reviews()
        request = reviews_pb2.GetReviewStatsRequest(tenant=tenant, rubric=rubric)
        return await callee.unary(stub.GetReviewStats, request, name="GetReviewStats", timeout=timeout)

    def _rubrics(self) -> tuple[Callee, RubricServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.RubricService")
        return callee, RubricServiceStub(callee.channel)

    def _reviews(self) -> tuple[Callee, ReviewServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.ReviewService")
        return callee, ReviewServiceStub(callee.channel)
