"""The embedder service over gRPC."""

from __future__ import annotations

import grpc
from headrace.embedding.v1.service_pb2 import EmbedRequest
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace_privacy import Text
from headrace_runtime.errors import Failure, Overloaded, Unavailable

from headrace_retriever.domain import Embedder, Vector
from headrace_retriever.translate import checked_vector, to_embedder

#: One query takes some 10 ms; longer than this means that the embedder is down or stuck.
SECONDS = 5.0

_OUTCOMES: dict[grpc.StatusCode, Failure] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable("embedder"),
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable("embedder"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded("embedder"),
}


class GrpcEmbedder:
    """Embeds texts with the model that the index was made with."""

    def __init__(self, channel: grpc.aio.Channel, *, seconds: float = SECONDS) -> None:
        self._stub = EmbeddingServiceStub(channel)
        self._seconds = seconds

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        """Returns the vector and what made it. Raises Unavailable("embedder"), Overloaded("embedder")."""
        request = EmbedRequest(texts=[text.reveal()])
        try:
            response = await self._stub.Embed(request, timeout=self._seconds)
        except grpc.aio.AioRpcError as error:
            failure = _OUTCOMES.get(error.code())
            if failure is None:
                raise
            raise failure from error
        embedder = to_embedder(response.embedder)
        return checked_vector(response.embeddings[0].values, embedder, "text"), embedder
