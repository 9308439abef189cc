"""The gRPC edge."""

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext
from headrace.embedding.v1.service_pb2 import EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer

from headrace_embedder import translate
from headrace_embedder.handlers import embed_texts
from headrace_embedder.ports import Embedder


class EmbeddingServicer(EmbeddingServiceServicer):
    """Serves headrace.embedding.v1.EmbeddingService."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def Embed(
        self,
        request: EmbedRequest,
        context: ServicerContext[Any, Any],
    ) -> EmbedResponse:
        """Embeds a caller's texts. Raises Rejected with each wrong one, and Overloaded."""
        vectors = await embed_texts(translate.requested_texts(request), embedder=self._embedder)
        return translate.embed_response(vectors, self._embedder.identity)
