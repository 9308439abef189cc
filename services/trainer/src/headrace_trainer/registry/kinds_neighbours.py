"""Inference and the feedback logger over gRPC, as far as kinds are judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub
from headrace.inference.v1.routes_pb2 import ExplainRouteRequest, GetKindsRequest
from headrace.inference.v1.routes_pb2_grpc import RouteServiceStub
from headrace_models.kinds import OTHER

from headrace_trainer.registry.kinds import Asked, Told
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.neighbours import RemoteServing, failures
from headrace_trainer.registry.ports import Loaded

if TYPE_CHECKING:
    from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceAsyncStub
    from headrace.inference.v1.routes_pb2_grpc import RouteServiceAsyncStub

#: How long a call may take, in seconds: a question is embedded; kinds may be learned anew; a snapshot is read.
EXPLAIN_SECONDS = 30.0
KINDS_SECONDS = 60.0
READ_SECONDS = 600.0


class RemoteRecogniser:
    """See kinds.Recogniser."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._serving = RemoteServing(channel)
        self._routes: RouteServiceAsyncStub = RouteServiceStub(channel)

    async def loaded(self, model: Model) -> Loaded:
        return await self._serving.loaded(model.tenant, model.version)

    async def kinds(self, tenant: str) -> frozenset[str]:
        with failures("inference", missing=("kinds of", tenant)):
            found = await self._routes.GetKinds(GetKindsRequest(tenant=tenant), timeout=KINDS_SECONDS)
        return frozenset([*(kind.name for kind in found.kinds), OTHER])

    async def recognise(self, tenant: str, question: str, *, by: str) -> Told:
        request = ExplainRouteRequest(tenant=tenant, text=question, kinds_model=by)
        with failures("inference"):
            found = await self._routes.ExplainRoute(request, timeout=EXPLAIN_SECONDS)
        return Told(found.routing.kinds_model, {score.kind: score.confidence for score in found.scores})


class RemoteStatedRows:
    """See kinds.StatedRows."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets: DatasetServiceAsyncStub = DatasetServiceStub(channel)

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Asked]:
        request = datasets_pb2.ReadDatasetRequest(tenant=tenant, dataset=dataset_id, split=datasets_pb2.SPLIT_TEST)
        found: list[Asked] = []
        with failures("the feedback logger", missing=("dataset", dataset_id)):
            async for response in self._datasets.ReadDataset(request, timeout=READ_SECONDS):
                stated = [row for row in response.rows if row.kind_stated and row.question]
                found += [Asked(row.kind, row.group, row.question) for row in stated]
                if len(found) >= most:
                    break
        return found[:most]
