"""The part of the client that measures: scores, which answers are measured, judges."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from headrace.feedback.v1 import evaluation_pb2
from headrace.feedback.v1.evaluation_pb2_grpc import EvaluationServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.feedback.v1.evaluation_pb2_grpc import EvaluationServiceAsyncStub

#: Seconds that a call may take, and that a calibration may: a small model on two cores takes seconds a vote.
_CALL_TIMEOUT = 30.0
_CALIBRATION_TIMEOUT = 4 * 3600.0


class Evaluating:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def scores(self, query_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> list[evaluation_pb2.Score]:
        """The scores of one answer, by evaluator, newest version first."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.GetScoresRequest(tenant=tenant, query_id=query_id)
        return list((await callee.unary(stub.GetScores, request, name="GetScores", timeout=timeout)).scores)

    async def put_evaluation(
        self,
        *,
        tenant: str,
        share: float,
        judges: Sequence[str] = (),
        judged_share: float = 0.0,
        timeout: float = _CALL_TIMEOUT,
    ) -> None:
        """Says which share of live answers is measured by its words, and of these which share by which judges."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.PutEvaluationRequest(
            tenant=tenant, share=share, judges=judges, judged_share=judged_share
        )
        await callee.unary(stub.PutEvaluation, request, name="PutEvaluation", timeout=timeout)

    async def evaluation(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> evaluation_pb2.GetEvaluationResponse:
        """What was said last, every evaluator that there is, and how many answers wait."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.GetEvaluationRequest(tenant=tenant)
        return await callee.unary(stub.GetEvaluation, request, name="GetEvaluation", timeout=timeout)

    async def put_judge(
        self, judge: evaluation_pb2.Judge, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> evaluation_pb2.PutJudgeResponse:
        """Stores a version of a judge; one that is just as the newest keeps its version."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.PutJudgeRequest(tenant=tenant, judge=judge)
        return await callee.unary(stub.PutJudge, request, name="PutJudge", timeout=timeout)

    async def judges(
        self, *, tenant: str, name: str = "", timeout: float = _CALL_TIMEOUT
    ) -> list[evaluation_pb2.Judge]:
        """The newest version of each judge, or every version of one, newest first."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.ListJudgesRequest(tenant=tenant, name=name)
        return list((await callee.unary(stub.ListJudges, request, name="ListJudges", timeout=timeout)).judges)

    async def calibrate_judge(
        self, name: str, *, tenant: str, version: int = 0, timeout: float = _CALIBRATION_TIMEOUT
    ) -> AsyncGenerator[evaluation_pb2.CalibrateJudgeResponse, None]:
        """Has a judge label what experts labelled; yields how far it is, at last with the judge."""
        callee, stub = self._evaluations()
        request = evaluation_pb2.CalibrateJudgeRequest(tenant=tenant, name=name, version=version)
        stream = callee.stream(stub.CalibrateJudge, request, name="CalibrateJudge", timeout=timeout)
        async with aclosing(stream) as responses:
            async for response in responses:
                yield response

    def _evaluations(self) -> tuple[Callee, EvaluationServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.EvaluationService")
        return callee, EvaluationServiceStub(callee.channel)
