"""Inference and the embedder over gRPC: a tenant's kinds, and questions' vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from headrace.embedding.v1.service_pb2 import EmbedRequest
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace.inference.v1.routes_pb2 import GetKindsRequest
from headrace.inference.v1.routes_pb2_grpc import RouteServiceStub
from headrace_models.kinds import Embedder
from headrace_runtime.errors import Conflict, NotFound, Unavailable

from headrace_trainer.running.kinds import Defined

if TYPE_CHECKING:
    from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceAsyncStub
    from headrace.inference.v1.routes_pb2_grpc import RouteServiceAsyncStub

#: How long a call may take, in seconds: kinds may be learned anew for it; 256 long texts take some on two cores.
KINDS_SECONDS = 60.0
EMBED_SECONDS = 60.0


class RemoteKinds:
    """See kinds.Kinds."""

    def __init__(self, inference: grpc.aio.Channel, embedder: grpc.aio.Channel) -> None:
        self._routes: RouteServiceAsyncStub = RouteServiceStub(inference)
        self._embedder: EmbeddingServiceAsyncStub = EmbeddingServiceStub(embedder)

    async def defined(self, tenant: str) -> Defined | None:
        """See kinds.Kinds."""
        try:
            with _failures("inference"):
                found = await self._routes.GetKinds(GetKindsRequest(tenant=tenant), timeout=KINDS_SECONDS)
        except NotFound:
            return None
        return Defined(found.version, {kind.name: tuple(kind.examples) for kind in found.kinds})

    async def embed(self, texts: Sequence[str]) -> tuple[Sequence[Sequence[float]], Embedder]:
        """See kinds.Kinds. Raises Conflict for a text that the embedder does not take."""
        with _failures("the embedder"):
            found = await self._embedder.Embed(EmbedRequest(texts=texts), timeout=EMBED_SECONDS)
        made_by = found.embedder
        vectors = [tuple(one.values) for one in found.embeddings]
        return vectors, Embedder(made_by.name, made_by.dimensions, made_by.hash)


@contextmanager
def _failures(neighbour: str) -> Iterator[None]:
    """No text of an error goes on: it may quote the request."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                raise NotFound("kinds", "") from None
            case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.INVALID_ARGUMENT:
                raise Conflict(f"{neighbour} does not take it: {error.code().name}") from None
            case _:
                raise Unavailable(neighbour) from None
