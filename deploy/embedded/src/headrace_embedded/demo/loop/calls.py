"""The calls to the drift monitor and to the trainer that the tour makes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.drift.v1 import drift_pb2
from headrace.drift.v1 import service_pb2 as drift
from headrace.drift.v1.service_pb2_grpc import DriftServiceStub
from headrace.training.v1 import models_pb2, training_pb2
from headrace.training.v1 import service_pb2 as training
from headrace.training.v1.service_pb2_grpc import LoopServiceStub, ModelServiceStub, TrainingServiceStub
from headrace_client.calls import Callee, Channels

from headrace_embedded.demo.corpus import TENANT

if TYPE_CHECKING:
    from headrace.drift.v1.service_pb2_grpc import DriftServiceAsyncStub
    from headrace.training.v1.service_pb2_grpc import (
        LoopServiceAsyncStub,
        ModelServiceAsyncStub,
        TrainingServiceAsyncStub,
    )

_CALL_S = 30.0


class Calls:
    """Each raises the errors of `headrace_client.errors`."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    # Drift

    async def set_baseline(self, begins: datetime, ends: datetime) -> drift_pb2.Baseline:
        """Has windows be measured against a period."""
        request = drift.SetBaselineRequest(tenant=TENANT, until=_moment(ends))
        # The field is called as a keyword is.
        getattr(request, "from").FromDatetime(begins)
        callee, stub = self._drift()
        return (await callee.unary(stub.SetBaseline, request, name="SetBaseline", timeout=_CALL_S)).baseline

    async def open_alerts(self) -> Sequence[drift_pb2.Alert]:
        """The alerts that hold, newest first."""
        request = drift.ListAlertsRequest(tenant=TENANT, state=drift_pb2.ALERT_STATE_OPEN)
        callee, stub = self._drift()
        return (await callee.unary(stub.ListAlerts, request, name="ListAlerts", timeout=_CALL_S)).alerts

    async def alert(self, alert_id: str) -> drift_pb2.Alert:
        """One alert, with its explanation."""
        callee, stub = self._drift()
        request = drift.GetAlertRequest(tenant=TENANT, alert_id=alert_id)
        return (await callee.unary(stub.GetAlert, request, name="GetAlert", timeout=_CALL_S)).alert

    # The loop

    async def put_rules(self, rules: training.LoopRules) -> training.LoopRules:
        """Tells how the loop is to decide."""
        callee, stub = self._loop()
        request = training.PutLoopRulesRequest(tenant=TENANT, rules=rules)
        return (await callee.unary(stub.PutLoopRules, request, name="PutLoopRules", timeout=_CALL_S)).rules

    async def loop(self) -> training.GetLoopResponse:
        """How the loop stands."""
        callee, stub = self._loop()
        return await callee.unary(stub.GetLoop, training.GetLoopRequest(tenant=TENANT), name="GetLoop", timeout=_CALL_S)

    # Runs

    async def refresh(self, documents: Sequence[str]) -> training_pb2.TrainingRun:
        """What `headrace documents put --refresh` asks for: a model that knows the documents."""
        request = training.StartTrainingRequest(
            tenant=TENANT, cause=training_pb2.CAUSE_STEWARD, because=[f"document {name}" for name in documents]
        )
        callee, stub = self._runs()
        return (await callee.unary(stub.StartTraining, request, name="StartTraining", timeout=_CALL_S)).run

    async def runs(self) -> Sequence[training_pb2.TrainingRun]:
        """The runs, newest first."""
        callee, stub = self._runs()
        request = training.ListTrainingsRequest(tenant=TENANT)
        return (await callee.unary(stub.ListTrainings, request, name="ListTrainings", timeout=_CALL_S)).runs

    async def follow(self, run_id: str, *, timeout: float) -> AsyncGenerator[training_pb2.TrainingRun, None]:
        """Yields a run whenever it has changed, and lastly as it ended."""
        callee, stub = self._runs()
        request = training.WatchTrainingRequest(tenant=TENANT, run_id=run_id)
        async with aclosing(callee.stream(stub.WatchTraining, request, name="WatchTraining", timeout=timeout)) as runs:
            async for response in runs:
                yield response.run

    # Models

    async def model(self, name: str) -> models_pb2.Model:
        """One model: by name, or "live"."""
        callee, stub = self._models()
        request = training.GetModelRequest(tenant=TENANT, model=name)
        return (await callee.unary(stub.GetModel, request, name="GetModel", timeout=_CALL_S)).model

    async def models(self) -> Sequence[models_pb2.Model]:
        """The tenant's models, newest first."""
        callee, stub = self._models()
        request = training.ListModelsRequest(tenant=TENANT)
        return (await callee.unary(stub.ListModels, request, name="ListModels", timeout=_CALL_S)).models

    async def roll_back(self, name: str, *, reason: str) -> str:
        """Takes a model out of service; returns what answers now."""
        callee, stub = self._models()
        request = training.RollBackModelRequest(tenant=TENANT, model=name, reason=reason)
        return (await callee.unary(stub.RollBackModel, request, name="RollBackModel", timeout=_CALL_S)).live

    async def lineage(self, subject: str) -> training.TraceLineageResponse:
        """What was made of an end user's questions."""
        callee, stub = self._models()
        request = training.TraceLineageRequest(tenant=TENANT, subject=subject)
        return await callee.unary(stub.TraceLineage, request, name="TraceLineage", timeout=_CALL_S)

    def _drift(self) -> tuple[Callee, DriftServiceAsyncStub]:
        callee = self._channels.callee("drift", "headrace.drift.v1.DriftService")
        return callee, DriftServiceStub(callee.channel)

    def _loop(self) -> tuple[Callee, LoopServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.LoopService")
        return callee, LoopServiceStub(callee.channel)

    def _runs(self) -> tuple[Callee, TrainingServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.TrainingService")
        return callee, TrainingServiceStub(callee.channel)

    def _models(self) -> tuple[Callee, ModelServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.ModelService")
        return callee, ModelServiceStub(callee.channel)


def _moment(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
