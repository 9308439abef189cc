"""The gRPC edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc.aio import ServicerContext
from headrace.inference.v1.service_pb2 import GenerateRequest, GenerateResponse
from headrace.inference.v1.service_pb2_grpc import InferenceServiceServicer
from headrace_identity import current_principal
from headrace_privacy import Tier
from headrace_runtime.errors import Denied

from headrace_inference import translate
from headrace_inference.domain import Sending
from headrace_inference.ports import Gate, Model


class InferenceServicer(InferenceServiceServicer):
    """Serves headrace.inference.v1.InferenceService."""

    def __init__(self, model: Model, gate: Gate) -> None:
        self._model = model
        self._gate = gate

    async def Generate(
        self, request: GenerateRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[GenerateResponse]:
        """Writes a completion. A call that ends early, cancelled or too late, leaves the model's context at once.

        Nobody says of what tier the turns are, so they are of the strictest. Raises Denied when the policy keeps that
        from the model.
        """
        del context
        turns, decoding = translate.turns(request), translate.decoding(request)
        caller = current_principal()
        if not await self._gate.admits(Sending(caller.role, caller.subject, caller.tenant, Tier.TIER_2)):
            raise Denied("the policy lets this model see no text whose tier nobody knows; see backends in the policy")
        async with self._model.write(turns, decoding) as writing:
            async for piece in writing.pieces():
                yield GenerateResponse(text=piece)
        yield translate.finished(writing.spent, self._model.identity)
