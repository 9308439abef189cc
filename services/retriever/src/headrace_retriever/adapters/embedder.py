"""The embedder service over gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
from headrace.embedding.v1.service_pb2 import EmbedRequest
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace_privacy import Text
from headrace_runtime.errors import Failure, Overloaded, Rejected, Unavailable

from headrace_retriever.domain import Embedder, Vector
from headrace_retriever.generations import Opened, Trained, Trouble, Unusable, Urgency
from headrace_retriever.translate import checked_vector, from_embedded, to_embed_as, to_embedder

#: One query takes some 10 ms; longer than this means that the embedder is down or stuck.
SECONDS = 5.0
#: 64 full chunks take about 3 s on two cores when nobody else wants them.
BATCH_SECONDS = 60.0
_OF_WEIGHTS: Sequence[Trouble] = ("missing", "corrupt", "unsupported", "no_memory", "refused")

_OUTCOMES: dict[grpc.StatusCode, Failure] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable("embedder"),
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable("embedder"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded("embedder"),
}


class GrpcEmbedder:
    """Embeds texts with the model that the index was made with, or with a tenant's own. See ports.TextEmbedder and
    ports.OwnEmbedder."""

    def __init__(self, channel: grpc.aio.Channel, *, seconds: float = SECONDS) -> None:
        self._stub = EmbeddingServiceStub(channel)
        self._seconds = seconds

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        """Returns the vector and what made it. Raises Unavailable("embedder"), Overloaded("embedder")."""
        request = EmbedRequest(texts=[text.reveal()])
        with _failures():
            response = await self._stub.Embed(request, timeout=self._seconds)
        embedder = to_embedder(response.embedder)
        return checked_vector(response.embeddings[0].values, embedder, "text"), embedder

    async def embed_as(
        self, trained: Trained, texts: Sequence[Opened], *, urgency: Urgency
    ) -> tuple[Sequence[Vector], Embedder]:
        """See ports.OwnEmbedder."""
        request = to_embed_as(trained, texts, urgency)
        seconds = self._seconds if urgency == "soon" else BATCH_SECONDS
        with _own_failures():
            response = await self._stub.EmbedAs(request, timeout=seconds)
        try:
            vectors, embedder = from_embedded(response)
        except Rejected:
            raise Unusable("unusable") from None
        if len(vectors) != len(texts) or embedder.name != trained.model:
            raise Unusable("unusable")
        return vectors, embedder


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        failure = _OUTCOMES.get(error.code())
        if failure is None:
            raise
        raise failure from error


@contextmanager
def _own_failures() -> Iterator[None]:
    """Whatever keeps a tenant's own embedder from answering, the house's is there."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
            raise Unusable(_trouble(error.details() or "")) from None
        raise _OUTCOMES.get(error.code(), Unavailable("embedder")) from error


def _trouble(details: str) -> Trouble:
    """The contract has it that the details end in what is wrong with the weights."""
    said = details.rpartition(": ")[2]
    return next((trouble for trouble in _OF_WEIGHTS if trouble == said), "unsupported")
