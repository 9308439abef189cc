"""The gRPC edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc.aio import ServicerContext
from headrace.inference.v1.service_pb2 import GenerateRequest, GenerateResponse
from headrace.inference.v1.service_pb2_grpc import InferenceServiceServicer

from headrace_inference import translate
from headrace_inference.ports import Model


class InferenceServicer(InferenceServiceServicer):
    """Serves headrace.inference.v1.InferenceService."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def Generate(
        self, request: GenerateRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[GenerateResponse]:
        """Writes a completion. A call that ends early, cancelled or too late, leaves the model's context at once."""
        del context
        turns, decoding = translate.turns(request), translate.decoding(request)
        async with self._model.write(turns, decoding) as writing:
            async for piece in writing.pieces():
                yield GenerateResponse(text=piece)
        yield translate.finished(writing.spent, self._model.identity)
