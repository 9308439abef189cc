"""The gRPC edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from headrace.feedback.v1 import evaluation_pb2, evaluation_pb2_grpc
from headrace_identity import Principal

from headrace_feedback.evaluating import handlers
from headrace_feedback.evaluating.calibrating import Calibrating, calibrated
from headrace_feedback.evaluating.evaluators import EVALUATORS
from headrace_feedback.evaluating.translate import (
    read_judge,
    read_name,
    read_query_id,
    read_sampling,
    to_evaluator,
    to_judge,
    to_score,
)
from headrace_feedback.evaluating.working import Parts
from headrace_feedback.translate import read_tenant

Context = grpc.aio.ServicerContext[Any, Any]


class EvaluationServicer(evaluation_pb2_grpc.EvaluationServiceServicer):
    """Serves headrace.feedback.v1.EvaluationService. `caller` says who calls."""

    def __init__(self, parts: Parts, *, caller: Callable[[], Principal]) -> None:
        self._parts = parts
        self._caller = caller

    async def PutEvaluation(
        self, request: evaluation_pb2.PutEvaluationRequest, context: Context
    ) -> evaluation_pb2.PutEvaluationResponse:
        del context
        sampling = read_sampling(request)
        by, at = self._caller().subject, self._parts.now()
        await handlers.put_sampling(read_tenant(request.tenant), sampling, self._parts.desk, by=by, at=at)
        return evaluation_pb2.PutEvaluationResponse()

    async def GetEvaluation(
        self, request: evaluation_pb2.GetEvaluationRequest, context: Context
    ) -> evaluation_pb2.GetEvaluationResponse:
        del context
        tenant = read_tenant(request.tenant)
        async with self._parts.desk.open(tenant) as entry:
            sampling = await entry.books.sampling(tenant)
            waiting = await entry.queue.waiting(tenant)
        missing = self._parts.reader.neighbours.missing
        return evaluation_pb2.GetEvaluationResponse(
            share=sampling.share,
            judges=sampling.judges,
            judged_share=sampling.judged_share,
            evaluators=[to_evaluator(evaluator, missing=missing) for evaluator in EVALUATORS],
            waiting=waiting,
        )

    async def GetScores(
        self, request: evaluation_pb2.GetScoresRequest, context: Context
    ) -> evaluation_pb2.GetScoresResponse:
        del context
        query_id = read_query_id(request.query_id)
        scores = await handlers.scores_of(read_tenant(request.tenant), query_id, self._parts.desk)
        return evaluation_pb2.GetScoresResponse(scores=map(to_score, scores))

    async def PutJudge(
        self, request: evaluation_pb2.PutJudgeRequest, context: Context
    ) -> evaluation_pb2.PutJudgeResponse:
        del context
        judge = read_judge(request.judge, by=self._caller().subject)
        tenant = read_tenant(request.tenant)
        stored, is_new = await handlers.put_judge(tenant, judge, self._parts.desk, at=self._parts.now())
        return evaluation_pb2.PutJudgeResponse(judge=to_judge(stored), created=is_new)

    async def ListJudges(
        self, request: evaluation_pb2.ListJudgesRequest, context: Context
    ) -> evaluation_pb2.ListJudgesResponse:
        del context
        name = read_name(request.name) if request.name else ""
        judges = await handlers.list_judges(read_tenant(request.tenant), name, self._parts.desk)
        return evaluation_pb2.ListJudgesResponse(judges=map(to_judge, judges))

    async def CalibrateJudge(
        self, request: evaluation_pb2.CalibrateJudgeRequest, context: Context
    ) -> AsyncIterator[evaluation_pb2.CalibrateJudgeResponse]:
        del context
        tenant, name = read_tenant(request.tenant), read_name(request.name)
        bench = await handlers.bench_of(tenant, name, request.version, self._parts)
        async for progress in Calibrating(self._parts, bench, tenant, by=self._caller()).run():
            judge = to_judge(calibrated(bench.judge, progress.calibration)) if progress.calibration else None
            yield evaluation_pb2.CalibrateJudgeResponse(done=progress.done, total=progress.total, judge=judge)
