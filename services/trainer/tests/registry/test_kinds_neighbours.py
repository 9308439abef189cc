# ruff: noqa: N802  (gRPC names the methods)
"""Inference, the embedder and the feedback logger as whoever learns and judges kinds asks them, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from headrace.embedding.v1 import service_pb2 as embedding_pb2
from headrace.embedding.v1 import service_pb2_grpc as embedding_pb2_grpc
from headrace.feedback.v1 import datasets_pb2, datasets_pb2_grpc
from headrace.inference.v1 import routes_pb2, routes_pb2_grpc, variants_pb2, variants_pb2_grpc
from headrace.query.v1.answer_pb2 import ModelIdentity, Routing
from headrace_models.kinds import Embedder
from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable
from headrace_trainer.registry.kinds import Asked, Told
from headrace_trainer.registry.kinds_neighbours import RemoteRecogniser, RemoteStatedRows
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.running.kinds_neighbours import RemoteKinds

from services.trainer.tests.registry.makers import a_model

SECRET = "zanzibarine"


class House(
    variants_pb2_grpc.VariantServiceServicer,
    routes_pb2_grpc.RouteServiceServicer,
    datasets_pb2_grpc.DatasetServiceServicer,
    embedding_pb2_grpc.EmbeddingServiceServicer,
):
    """All of them. refusing: with which code, and the question in its words."""

    def __init__(self) -> None:
        self.refusing: grpc.StatusCode | None = None
        self.asked: list[Any] = []

    async def _take(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        if self.refusing is not None:
            await context.abort(self.refusing, f"about {SECRET}")

    async def ListTrainedModels(self, request: Any, context: Any) -> Any:
        await self._take(request, context)
        one = variants_pb2.TrainedModel(model=ModelIdentity(name="acme-kinds", version="aa"), state="up")
        return variants_pb2.ListTrainedModelsResponse(models=[one])

    async def GetKinds(self, request: Any, context: Any) -> Any:
        await self._take(request, context)
        kinds = [routes_pb2.Kind(name="why", examples=["why so", "why now", "why"])]
        return routes_pb2.GetKindsResponse(version=4, kinds=kinds)

    async def ExplainRoute(self, request: Any, context: Any) -> Any:
        await self._take(request, context)
        scores = [
            routes_pb2.KindScore(kind="why", confidence=0.75),
            routes_pb2.KindScore(kind="other", confidence=0.25),
        ]
        return routes_pb2.ExplainRouteResponse(routing=Routing(kinds_model=request.kinds_model), scores=scores)

    async def ReadDataset(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._take(request, context)
        told = [("a", "why so", True), ("b", "why not", False), ("c", "", True), ("d", "why now", True)]
        rows = [
            datasets_pb2.DatasetRow(row_id=name, question=question, kind="why", kind_stated=stated, group=f"g{name}")
            for name, question, stated in told
        ]
        yield datasets_pb2.ReadDatasetResponse(rows=rows[:2])
        yield datasets_pb2.ReadDatasetResponse(rows=rows[2:])

    async def Embed(self, request: Any, context: Any) -> Any:
        await self._take(request, context)
        made = embedding_pb2.EmbedResponse(embeddings=[{"values": [0.5, len(text)]} for text in request.texts])
        made.embedder.name, made.embedder.dimensions, made.embedder.hash = "mini", 2, "ab" * 8
        return made


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def channel(house: House) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    variants_pb2_grpc.add_VariantServiceServicer_to_server(house, server)
    routes_pb2_grpc.add_RouteServiceServicer_to_server(house, server)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(house, server)
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(house, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(0)


def head(version: str = "aa") -> Model:
    return a_model(f"acme-kinds@{version}")


async def test_what_recognises_is_asked_by_name(house: House, channel: grpc.aio.Channel) -> None:
    recogniser = RemoteRecogniser(channel)
    assert await recogniser.loaded(head()) == Loaded("up")
    assert await recogniser.loaded(head("bb")) == Loaded("absent")
    assert await recogniser.kinds("acme") == {"why", "other"}
    told = await recogniser.recognise("acme", "why so", by="acme-kinds@aa")
    assert told == Told("acme-kinds@aa", {"why": 0.75, "other": 0.25})
    asked = cast(routes_pb2.ExplainRouteRequest, house.asked[-1])
    assert (asked.tenant, asked.text, asked.kinds_model) == ("acme", "why so", "acme-kinds@aa")


async def test_only_questions_of_a_stated_kind_are_held_out(house: House, channel: grpc.aio.Channel) -> None:
    rows = RemoteStatedRows(channel)
    assert await rows.held_out("acme", "d1", most=9) == [Asked("why", "ga", "why so"), Asked("why", "gd", "why now")]
    assert len(await rows.held_out("acme", "d1", most=1)) == 1
    assert house.asked[-1].split == datasets_pb2.SPLIT_TEST


async def test_kinds_and_vectors_are_read_as_they_are(channel: grpc.aio.Channel) -> None:
    kinds = RemoteKinds(channel, channel)
    defined = await kinds.defined("acme")
    assert defined is not None
    assert (defined.version, dict(defined.examples)) == (4, {"why": ("why so", "why now", "why")})
    vectors, embedder = await kinds.embed(["ab", "abcd"])
    assert ([list(one) for one in vectors], embedder) == ([[0.5, 2], [0.5, 4]], Embedder("mini", 2, "ab" * 8))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
    ],
)
async def test_errors_say_what_to_do_and_repeat_no_words(
    code: grpc.StatusCode, error: type[Exception], house: House, channel: grpc.aio.Channel
) -> None:
    house.refusing = code
    for call in (
        RemoteRecogniser(channel).recognise("acme", SECRET, by=""),
        RemoteStatedRows(channel).held_out("acme", "d1", most=9),
    ):
        with pytest.raises(error) as raised:
            await call
        assert SECRET not in str(raised.value)


async def test_while_nobody_embeds_or_knows_the_kinds_it_is_waited(house: House, channel: grpc.aio.Channel) -> None:
    kinds = RemoteKinds(channel, channel)
    house.refusing = grpc.StatusCode.NOT_FOUND
    assert await kinds.defined("acme") is None
    house.refusing = grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in (kinds.defined("acme"), kinds.embed([SECRET])):
        with pytest.raises(Unavailable) as raised:
            await call
        assert SECRET not in str(raised.value)
    house.refusing = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(Conflict):
        await kinds.embed([SECRET])
