"""The gRPC edge."""

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext
from headrace.embedding.v1.service_pb2 import EmbedAsRequest, EmbedAsResponse, EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer

from headrace_embedder import translate
from headrace_embedder.handlers import embed_as, embed_texts
from headrace_embedder.ports import Chunker, Embedder, TrainedEmbedders


class EmbeddingServicer(EmbeddingServiceServicer):
    """Serves headrace.embedding.v1.EmbeddingService."""

    def __init__(self, embedder: Embedder, *, trained: TrainedEmbedders, chunker: Chunker) -> None:
        self._embedder = embedder
        self._trained = trained
        self._chunker = chunker

    async def Embed(
        self,
        request: EmbedRequest,
        context: ServicerContext[Any, Any],
    ) -> EmbedResponse:
        """Embeds a caller's texts. Raises Rejected with each wrong one, and Overloaded."""
        vectors = await embed_texts(translate.requested_texts(request), embedder=self._embedder)
        return translate.embed_response(vectors, self._embedder.identity)

    async def EmbedAs(
        self,
        request: EmbedAsRequest,
        context: ServicerContext[Any, Any],
    ) -> EmbedAsResponse:
        """Embeds a caller's passages with a tenant's own model. Raises Rejected, Conflict and Overloaded."""
        vectors, identity = await embed_as(
            translate.requested_model(request),
            translate.requested_passages(request),
            urgency=translate.requested_urgency(request),
            trained=self._trained,
            chunker=self._chunker,
        )
        return translate.embed_as_response(vectors, identity)
