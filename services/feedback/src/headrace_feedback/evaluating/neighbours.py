"""Retriever, embedder and inference over gRPC, as far as they are named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

import grpc
import numpy as np
from headrace.embedding.v1.service_pb2 import EmbedRequest
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace.inference.v1.service_pb2 import ROLE_SYSTEM, ROLE_USER, GenerateRequest, Turn
from headrace.inference.v1.service_pb2_grpc import InferenceServiceStub
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import Decoding
from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace.retrieval.v1.service_pb2 import GetChunksRequest, ListChunksRequest
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceStub
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, Denied, Overloaded, Unavailable
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.settings import ServiceSettings

from headrace_feedback.evaluating.judging import Ballot, Judge, Model
from headrace_feedback.evaluating.ports import Neighbours, Said, Vector

if TYPE_CHECKING:
    from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceAsyncStub
    from headrace.inference.v1.service_pb2_grpc import InferenceServiceAsyncStub
    from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceAsyncStub

#: Contracts' limits, and how long a call may take, in seconds. A small model on two cores takes some for a long prompt.
MOST_CHUNKS = 500
MOST_TEXTS = 256
LONGEST_TEXT = 100_000
CALL_SECONDS = 10.0
JUDGE_SECONDS = 120.0


class Named(Protocol):
    """Which neighbours the settings name; empty: none."""

    @property
    def retriever(self) -> str:
        """host:port."""

    @property
    def embedder(self) -> str:
        """host:port."""

    @property
    def inference(self) -> str:
        """host:port."""


class RemotePassages:
    """See ports.Passages."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: RetrievalServiceAsyncStub = RetrievalServiceStub(channel)

    async def fetch(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Sequence[RetrievedChunk]:
        """See ports.Passages."""
        found: list[RetrievedChunk] = []
        for start in range(0, len(chunk_ids), MOST_CHUNKS):
            request = GetChunksRequest(
                tenant=tenant,
                chunk_ids=chunk_ids[start : start + MOST_CHUNKS],
                max_tier=WireTier.ValueType(clearance.value),
            )
            with _failures("the retriever"):
                found += (await self._stub.GetChunks(request, timeout=CALL_SECONDS)).chunks
        return found

    async def page(self, tenant: str, source: str, *, token: str) -> tuple[Sequence[RetrievedChunk], str]:
        """See headrace_feedback.datasets.ports.Documents."""
        request = ListChunksRequest(tenant=tenant, source=source, page_token=token)
        with _failures("the retriever"):
            response = await self._stub.ListChunks(request, timeout=CALL_SECONDS)
        return response.chunks, response.next_page_token


class RemoteEmbedder:
    """See ports.Embedder."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: EmbeddingServiceAsyncStub = EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """See ports.Embedder."""
        vectors: list[Vector] = []
        for start in range(0, len(texts), MOST_TEXTS):
            request = EmbedRequest(texts=[text[:LONGEST_TEXT] for text in texts[start : start + MOST_TEXTS]])
            with _failures("the embedder"):
                response = await self._stub.Embed(request, timeout=CALL_SECONDS)
            vectors += [np.array(one.values, dtype=np.float32) for one in response.embeddings]
        return vectors


class RemoteBackend:
    """See ports.Backend."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: InferenceServiceAsyncStub = InferenceServiceStub(channel)

    async def ask(self, judge: Judge, ballot: Ballot, *, tenant: str, tier: Tier) -> Said:
        """See ports.Backend."""
        request = GenerateRequest(
            turns=[Turn(role=ROLE_SYSTEM, text=ballot.system), Turn(role=ROLE_USER, text=ballot.user)],
            decoding=Decoding(
                max_output_tokens=judge.max_output_tokens,
                temperature=ballot.temperature,
                top_p=1.0,
                seed=ballot.seed,
            ),
            backend=judge.backend,
            tenant=tenant,
            tier=WireTier.ValueType(tier.value),
        )
        said, model = "", Model()
        with _failures("inference"):
            async for response in self._stub.Generate(request, timeout=JUDGE_SECONDS):
                said += response.text
                if response.HasField("finished"):
                    identity = response.finished.model
                    model = Model(identity.name, identity.version, identity.provider)
        return Said(said, model)


@asynccontextmanager
async def open_neighbours(settings: ServiceSettings, named: Named) -> AsyncIterator[Neighbours]:
    """Opens those that the settings name. Raises Conflict without a key of one's own to call them with."""
    async with AsyncExitStack() as stack:
        channels: Mapping[str, grpc.aio.Channel] = {
            address: await stack.enter_async_context(open_neighbour(address, settings))
            for address in dict.fromkeys((named.retriever, named.embedder, named.inference))
            if address
        }
        retriever = RemotePassages(channels[named.retriever]) if named.retriever else None
        yield Neighbours(
            passages=retriever,
            documents=retriever,
            embedder=RemoteEmbedder(channels[named.embedder]) if named.embedder else None,
            backend=RemoteBackend(channels[named.inference]) if named.inference else None,
        )


#: What waiting does not heal: the same will not be answered any differently.
_REFUSED = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED,
)


@contextmanager
def _failures(neighbour: str) -> Iterator[None]:
    """No text of an error goes on: it may quote the request."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.PERMISSION_DENIED:
            raise Denied(f"{neighbour} may not see it") from None
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise Overloaded(neighbour) from None
        if error.code() in _REFUSED:
            raise Conflict(f"{neighbour} does not take it: {error.code().name}") from None
        raise Unavailable(neighbour) from None
