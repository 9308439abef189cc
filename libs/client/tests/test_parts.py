"""The client's way to each part by itself."""
# ruff: noqa: N802  (gRPC names the methods)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from headrace.embedding.v1.service_pb2 import Embedding, EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer, add_EmbeddingServiceServicer_to_server
from headrace.inference.v1.service_pb2 import ROLE_USER, Finished, GenerateRequest, GenerateResponse, Turn
from headrace.inference.v1.service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_2
from headrace.privacy.v1.service_pb2 import ClassifyRequest, ClassifyResponse
from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceServicer, add_PrivacyServiceServicer_to_server
from headrace.retrieval.v1.retrieval_pb2 import RetrievalSettings
from headrace.retrieval.v1.service_pb2 import SearchRequest, SearchResponse
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceServicer, add_RetrievalServiceServicer_to_server
from headrace_client import Client, Endpoints


class FakePrivacy(PrivacyServiceServicer):
    """Finds everything to be what was declared."""

    async def Classify(self, request: ClassifyRequest, context: Any) -> ClassifyResponse:
        return ClassifyResponse(tier=request.declared_tier, masked_text=request.text)


class FakeEmbedding(EmbeddingServiceServicer):
    """Embeds a text as its length."""

    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:
        return EmbedResponse(embeddings=[Embedding(values=[len(text)]) for text in request.texts])


class FakeRetrieval(RetrievalServiceServicer):
    """Finds nothing, and says how it would have searched."""

    async def Search(self, request: SearchRequest, context: Any) -> SearchResponse:
        return SearchResponse(settings=RetrievalSettings(top_k=request.top_k, vector_search=",".join(request.sources)))


class FakeInference(InferenceServiceServicer):
    """Repeats the last turn, and notes when it was cancelled."""

    cancelled = False

    async def Generate(self, request: GenerateRequest, context: Any) -> AsyncIterator[GenerateResponse]:
        try:
            for word in request.turns[-1].text.split():
                yield GenerateResponse(text=word)
                await asyncio.sleep(0.001)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled = True
            raise
        yield GenerateResponse(finished=Finished(reason="stop"))


@pytest.fixture
async def inference() -> FakeInference:
    return FakeInference()


@pytest.fixture
async def client(inference: FakeInference) -> AsyncIterator[Client]:
    server = grpc.aio.server()
    add_PrivacyServiceServicer_to_server(FakePrivacy(), server)
    add_EmbeddingServiceServicer_to_server(FakeEmbedding(), server)
    add_RetrievalServiceServicer_to_server(FakeRetrieval(), server)
    add_InferenceServiceServicer_to_server(inference, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    services = dict.fromkeys(("classifier", "embedder", "retriever", "inference"), address)
    async with Client.connect(Endpoints(services=services)) as connected:
        yield connected
    await server.stop(None)


async def test_a_text_is_classified(client: Client) -> None:
    verdict = await client.classify("x", tenant="demo", declared_tier=TIER_1)
    assert (verdict.tier, verdict.masked_text) == (TIER_1, "x")


async def test_texts_are_embedded_in_order(client: Client) -> None:
    vectors = await client.embed(["a", "bcd"])
    assert [list(embedding.values) for embedding in vectors.embeddings] == [[1.0], [3.0]]


async def test_a_search_goes_with_its_limits(client: Client) -> None:
    found = await client.search("x", tenant="demo", top_k=3, sources=["a", "b"], max_tier=TIER_2)
    assert (found.settings.top_k, found.settings.vector_search) == (3, "a,b")


async def test_a_completion_streams(client: Client) -> None:
    said = [reply async for reply in client.generate([Turn(role=ROLE_USER, text="one two")])]
    assert [reply.text for reply in said] == ["one", "two", ""]
    assert said[-1].finished.reason == "stop"


async def test_leaving_a_completion_early_cancels_it(client: Client, inference: FakeInference) -> None:
    stream = client.generate([Turn(role=ROLE_USER, text="word " * 10_000)])
    await anext(stream)
    await stream.aclose()
    for _ in range(100):
        if inference.cancelled:
            break
        await client.embed(["a"])  # a round trip, so that the server has heard of it
    assert inference.cancelled
