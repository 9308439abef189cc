# ruff: noqa: N802  (gRPC names the methods)
"""Retriever, embedder and inference over real gRPC, of ten lines each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from headrace.embedding.v1.service_pb2 import Embedding, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer, add_EmbeddingServiceServicer_to_server
from headrace.inference.v1.service_pb2 import Finished, GenerateResponse
from headrace.inference.v1.service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from headrace.privacy.v1.privacy_pb2 import TIER_1, ProtectedText
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace.retrieval.v1.service_pb2 import GetChunksResponse, ListChunksResponse
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceServicer, add_RetrievalServiceServicer_to_server
from headrace_feedback.evaluating import neighbours
from headrace_feedback.evaluating.judging import Ballot, Model
from headrace_feedback.evaluating.neighbours import RemoteBackend, RemoteEmbedder, RemotePassages, open_neighbours
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, Denied, Overloaded, Unavailable

from services.feedback.tests.evaluating.house import judge

SECRET = "the users own words hunter2"
BALLOT = Ballot("You judge.", SECRET, seed=3, temperature=0.7)


class Fakes(RetrievalServiceServicer, EmbeddingServiceServicer, InferenceServiceServicer):
    """All three. `refusal` is what a call ends with, if anything."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.refusal: grpc.StatusCode | None = None

    async def _note(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        if self.refusal is not None:
            await context.abort(self.refusal, f"no: {SECRET}")

    async def GetChunks(self, request: Any, context: Any) -> GetChunksResponse:
        await self._note(request, context)
        chunks = [
            RetrievedChunk(reference=ChunkReference(chunk_id=each), text=ProtectedText(plain="x"))
            for each in request.chunk_ids
        ]
        return GetChunksResponse(chunks=chunks)

    async def ListChunks(self, request: Any, context: Any) -> ListChunksResponse:
        await self._note(request, context)
        chunk = RetrievedChunk(reference=ChunkReference(source=request.source), text=ProtectedText(plain="x"))
        return ListChunksResponse(chunks=[chunk], next_page_token="" if request.page_token else "more")

    async def Embed(self, request: Any, context: Any) -> EmbedResponse:
        await self._note(request, context)
        return EmbedResponse(embeddings=[Embedding(values=[1.0, 0.0]) for _ in request.texts])

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[GenerateResponse]:
        await self._note(request, context)
        yield GenerateResponse(text="pa")
        yield GenerateResponse(text="ss")
        model = ModelIdentity(name="m", version="1", provider="local")
        yield GenerateResponse(finished=Finished(reason="stop", model=model))


@pytest_asyncio.fixture
async def served() -> AsyncIterator[tuple[Fakes, grpc.aio.Channel]]:
    fakes, server = Fakes(), grpc.aio.server()
    add_RetrievalServiceServicer_to_server(fakes, server)
    add_EmbeddingServiceServicer_to_server(fakes, server)
    add_InferenceServiceServicer_to_server(fakes, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield fakes, channel
    await server.stop(0)


async def test_passages_are_fetched_in_batches_up_to_a_tier(
    served: tuple[Fakes, grpc.aio.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes, channel = served
    monkeypatch.setattr(neighbours, "MOST_CHUNKS", 2)
    found = await RemotePassages(channel).fetch("acme", ["a", "b", "c"], clearance=Tier.TIER_1)
    assert [chunk.reference.chunk_id for chunk in found] == ["a", "b", "c"]
    assert [list(request.chunk_ids) for request in fakes.asked] == [["a", "b"], ["c"]]
    assert {(request.tenant, request.max_tier) for request in fakes.asked} == {("acme", TIER_1)}


async def test_a_source_is_listed_page_by_page(served: tuple[Fakes, grpc.aio.Channel]) -> None:
    fakes, channel = served
    documents = RemotePassages(channel)
    chunks, token = await documents.page("acme", "handbook", token="")
    assert ([chunk.reference.source for chunk in chunks], token) == (["handbook"], "more")
    assert (await documents.page("acme", "handbook", token=token))[1] == ""
    assert [(request.tenant, request.page_token) for request in fakes.asked] == [("acme", ""), ("acme", "more")]
    fakes.refusal = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Unavailable):
        await documents.page("acme", "handbook", token="")


async def test_texts_are_embedded_in_order(served: tuple[Fakes, grpc.aio.Channel]) -> None:
    fakes, channel = served
    vectors = await RemoteEmbedder(channel).embed(["x", "y"])
    assert [vector.tolist() for vector in vectors] == [[1.0, 0.0]] * 2
    assert list(fakes.asked[0].texts) == ["x", "y"]


async def test_a_judge_is_asked_in_the_name_of_the_answers_tenant_and_tier(
    served: tuple[Fakes, grpc.aio.Channel],
) -> None:
    fakes, channel = served
    said = await RemoteBackend(channel).ask(judge(), BALLOT, tenant="acme", tier=Tier.TIER_1)
    assert (said.text, said.model) == ("pass", Model("m", "1", "local"))
    (request,) = fakes.asked
    assert (request.tenant, request.tier, request.backend) == ("acme", TIER_1, "")
    assert [turn.text for turn in request.turns] == ["You judge.", SECRET]
    assert (request.decoding.seed, request.decoding.max_output_tokens) == (3, 16)
    assert SECRET not in repr(said)
    assert SECRET not in repr(BALLOT)


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
        (grpc.StatusCode.UNAUTHENTICATED, Unavailable),
        (grpc.StatusCode.INTERNAL, Conflict),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
        (grpc.StatusCode.NOT_FOUND, Conflict),
        (grpc.StatusCode.INVALID_ARGUMENT, Conflict),
    ],
)
async def test_failures_are_ours_and_quote_nothing(
    served: tuple[Fakes, grpc.aio.Channel], code: grpc.StatusCode, failure: type[Exception]
) -> None:
    fakes, channel = served
    fakes.refusal = code
    with pytest.raises(failure) as refused:
        await RemoteBackend(channel).ask(judge(), BALLOT, tenant="acme", tier=Tier.TIER_1)
    assert "hunter2" not in str(refused.value)


async def test_who_is_not_named_is_not_there() -> None:
    nobody = cast(Any, SimpleNamespace(retriever="", embedder="", inference=""))
    async with open_neighbours(nobody, nobody) as opened:
        assert set(opened.missing) == {"passages", "vectors", "judges"}
