"""The embedder service over gRPC."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import numpy as np
from headrace.embedding.v1.service_pb2 import EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace_runtime.errors import Conflict, Failure, Overloaded, Unavailable

from headrace_inference.kinds import Embedder, Matrix

#: As many as the embedder takes at a time.
TEXTS_A_CALL = 256
#: 256 long texts take some seconds on two cores.
SECONDS = 60.0

_OUTCOMES: dict[grpc.StatusCode, Failure] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable("embedder"),
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable("embedder"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded("embedder"),
}


class GrpcEmbedder:
    """See route_ports.TextEmbedder."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str]) -> tuple[Matrix, Embedder]:
        """See route_ports.TextEmbedder.embed. Raises Conflict when another embedder answers in the middle."""
        calls = [await self._embed(texts[i : i + TEXTS_A_CALL]) for i in range(0, len(texts), TEXTS_A_CALL)]
        made_by = {call.embedder.hash for call in calls}
        if len(made_by) != 1:
            raise Conflict("the embedders that answer have different models; see docs/how-to/routes.md")
        identity = calls[0].embedder
        numbers = np.array([one.values for call in calls for one in call.embeddings], dtype=np.float64)
        return numbers, Embedder(identity.name, identity.dimensions, identity.hash)

    async def _embed(self, texts: Sequence[str]) -> EmbedResponse:
        try:
            return await self._stub.Embed(EmbedRequest(texts=texts), timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            failure = _OUTCOMES.get(error.code())
            if failure is None:
                raise
            raise failure from error
