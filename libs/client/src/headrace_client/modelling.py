"""The part of the client that looks after trained models, and follows what they were made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.training.v1 import models_pb2, service_pb2, training_pb2
from headrace.training.v1.service_pb2_grpc import ModelServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.training.v1.service_pb2_grpc import ModelServiceAsyncStub

_CALL_TIMEOUT = 30.0
#: A promotion waits until the routes are written; a lineage asks for every model's answers.
_LONG_TIMEOUT = 120.0


class Modelling:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def models(
        self,
        *,
        tenant: str,
        target: training_pb2.Target.ValueType = training_pb2.TARGET_UNSPECIFIED,
        state: models_pb2.ModelState.ValueType = models_pb2.MODEL_STATE_UNSPECIFIED,
        timeout: float = _CALL_TIMEOUT,
    ) -> list[models_pb2.Model]:
        """A tenant's models, newest first, without the lines of their gates."""
        callee, stub = self._models()
        request = service_pb2.ListModelsRequest(tenant=tenant, target=target, state=state)
        return list((await callee.unary(stub.ListModels, request, name="ListModels", timeout=timeout)).models)

    async def model(self, model: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> service_pb2.GetModelResponse:
        """One model with its card: by "NAME@VERSION", the first 8 or more digits of a version, or "live"."""
        callee, stub = self._models()
        request = service_pb2.GetModelRequest(tenant=tenant, model=model)
        return await callee.unary(stub.GetModel, request, name="GetModel", timeout=timeout)

    async def promote_model(
        self, request: service_pb2.PromoteModelRequest, *, timeout: float = _LONG_TIMEOUT
    ) -> models_pb2.Model:
        """Lets a model answer a share, or everything."""
        callee, stub = self._models()
        return (await callee.unary(stub.PromoteModel, request, name="PromoteModel", timeout=timeout)).model

    async def roll_back_model(
        self, model: str, *, tenant: str, reason: str = "", timeout: float = _LONG_TIMEOUT
    ) -> service_pb2.RollBackModelResponse:
        """Takes a canary out, or puts the model before the live one back."""
        callee, stub = self._models()
        request = service_pb2.RollBackModelRequest(tenant=tenant, model=model, reason=reason)
        return await callee.unary(stub.RollBackModel, request, name="RollBackModel", timeout=timeout)

    async def lineage(
        self, request: service_pb2.TraceLineageRequest, *, timeout: float = _LONG_TIMEOUT
    ) -> service_pb2.TraceLineageResponse:
        """What something was made of, and what was made of it."""
        callee, stub = self._models()
        return await callee.unary(stub.TraceLineage, request, name="TraceLineage", timeout=timeout)

    def _models(self) -> tuple[Callee, ModelServiceAsyncStub]:
        callee = self._channels.callee("trainer", "headrace.training.v1.ModelService")
        return callee, ModelServiceStub(callee.channel)
