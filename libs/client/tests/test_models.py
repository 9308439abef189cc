# ruff: noqa: N802  (gRPC names the methods)
"""`headrace models` and `headrace lineage`, against a ModelService of fakes over real gRPC."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from headrace.privacy.v1.privacy_pb2 import TIER_1
from headrace.query.v1.answer_pb2 import Versioned
from headrace.training.v1 import models_pb2, service_pb2, training_pb2
from headrace.training.v1.service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from headrace_client.cli.models_export import export_model, source_of

from libs.client.tests.test_cli import headrace_command

NAME = "acme-generator@0123456789abcdef"


def model(**more: Any) -> models_pb2.Model:
    made = models_pb2.Model(
        model=NAME,
        tenant="demo",
        state=models_pb2.MODEL_STATE_CANARY,
        dataset_id="d" * 64,
        tier=TIER_1,
        address=f"file:///models/{NAME}",
        variant=Versioned(name="tuned", version="3"),
        rollout=models_pb2.Rollout(
            share=0.1,
            answers=40,
            evidence=[models_pb2.Evidence(measure="failed", canary=0.02, champion=0.01, verdict="unknown")],
        ),
        **more,
    )
    made.gate.passed = True
    made.gate.judged_at.FromSeconds(1_790_000_000)
    made.gate.lines.add(rule="grounded", candidate=0.4, passed=True)
    return made


@dataclass
class FakeModels(ModelServiceServicer):
    """Keeps what it was asked, and answers what it was given."""

    held: list[models_pb2.Model] = field(default_factory=lambda: [model()])
    asked: list[Any] = field(default_factory=list)
    refusal: tuple[grpc.StatusCode, str] | None = None
    serving: models_pb2.Serving | None = None

    async def _note(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        if self.refusal:
            await context.abort(*self.refusal)

    async def ListModels(self, request: Any, context: Any) -> service_pb2.ListModelsResponse:
        await self._note(request, context)
        return service_pb2.ListModelsResponse(models=self.held)

    async def GetModel(self, request: Any, context: Any) -> service_pb2.GetModelResponse:
        await self._note(request, context)
        return service_pb2.GetModelResponse(model=self.held[0], card=f"# {NAME}\n\nA canary.", serving=self.serving)

    async def PromoteModel(self, request: Any, context: Any) -> service_pb2.PromoteModelResponse:
        await self._note(request, context)
        return service_pb2.PromoteModelResponse(model=self.held[0])

    async def RollBackModel(self, request: Any, context: Any) -> service_pb2.RollBackModelResponse:
        await self._note(request, context)
        return service_pb2.RollBackModelResponse(model=self.held[0], live="base")

    async def TraceLineage(self, request: Any, context: Any) -> service_pb2.TraceLineageResponse:
        await self._note(request, context)
        nodes = [
            service_pb2.LineageNode(kind="rows", id="of the subject", count=2),
            service_pb2.LineageNode(kind="dataset", id="d" * 64, state="usable", tier="tier_1"),
        ]
        return service_pb2.TraceLineageResponse(nodes=nodes, edges=[service_pb2.LineageEdge(**{"from": 0, "to": 1})])


@pytest.fixture
async def fakes() -> FakeModels:
    return FakeModels()


@pytest.fixture
async def endpoints(fakes: FakeModels) -> AsyncIterator[str]:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    add_ModelServiceServicer_to_server(fakes, server)
    await server.start()
    yield f"trainer=127.0.0.1:{port}"
    await server.stop(0)


async def test_models_are_listed_with_what_the_gate_said(endpoints: str, fakes: FakeModels) -> None:
    ran = await headrace_command("models", "list", "--state", "canary", where=endpoints)
    out = ran.out
    assert ran.code == 0
    for words in (NAME[:20], "canary", "passed", "tuned 3", "tier-1"):
        assert words in " ".join(out.split())
    assert fakes.asked[0].state == models_pb2.MODEL_STATE_CANARY
    await headrace_command("models", "list", "--target", "embedder", where=endpoints)
    assert fakes.asked[1].target == training_pb2.TARGET_EMBEDDER
    fakes.held = []
    out = (await headrace_command("models", "list", where=endpoints)).out
    assert "the base answers" in out


async def test_a_card_is_shown(endpoints: str) -> None:
    out = (await headrace_command("models", "show", "live", where=endpoints)).out
    assert out.startswith(f"# {NAME}")
    out = (await headrace_command("models", "show", "live", "--json", where=endpoints)).out
    assert json.loads(out)["card"].endswith("A canary.")
    assert json.loads(out)["serving"] is None


async def test_how_far_an_index_is_stands_below_the_card(endpoints: str, fakes: FakeModels) -> None:
    fakes.serving = models_pb2.Serving(state="loading", failure="no_memory", done=1200, of=4000)
    out = (await headrace_command("models", "show", "live-embedder", where=endpoints)).out
    assert "It cannot answer now: loading. What keeps it: no memory. 1,200 of 4,000 passages have" in out
    out = (await headrace_command("models", "show", "live-embedder", "--json", where=endpoints)).out
    assert json.loads(out)["serving"]["done"] == "1200"
    fakes.serving = models_pb2.Serving(state="up")
    assert "It can answer." in (await headrace_command("models", "show", "live", where=endpoints)).out


async def test_a_promotion_says_how_it_stands(endpoints: str, fakes: FakeModels) -> None:
    words = ("models", "promote", "01234567", "--at-once", "--reason", "tried")
    ran = await headrace_command(*words, where=endpoints)
    out = ran.out
    assert ran.code == 0
    assert f"{NAME} is canary." in out
    assert "It gets 10 % of the queries" in out
    assert (fakes.asked[0].at_once, fakes.asked[0].reason) == (True, "tried")


async def test_what_the_gate_refused_is_refused(endpoints: str, fakes: FakeModels) -> None:
    fakes.refusal = (grpc.StatusCode.FAILED_PRECONDITION, "the gate refused it")
    ran = await headrace_command("models", "promote", NAME, where=endpoints)
    err, code = ran.err, ran.code
    assert code != 0
    assert "the gate refused it" in err


async def test_a_rollback_says_what_answers_now(endpoints: str) -> None:
    out = (await headrace_command("models", "rollback", "live", where=endpoints)).out
    assert out.strip() == f"{NAME} answers no more; base does."


@pytest.mark.parametrize("what", ["model", "dataset", "source", "document", "subject", "query"])
async def test_a_lineage_is_followed_from_anywhere(endpoints: str, fakes: FakeModels, what: str) -> None:
    ran = await headrace_command("lineage", what, "it", where=endpoints)
    out = ran.out
    assert ran.code == 0
    assert "rows of the subject" in " ".join(out.split())
    assert fakes.asked[0].WhichOneof("what") == {"query": "query_id"}.get(what, what)
    out = (await headrace_command("lineage", what, "it", "--json", where=endpoints)).out
    assert json.loads(out)["edges"] == [{"from": 0, "to": 1}]


async def test_without_mlflow_an_export_says_what_to_install(endpoints: str) -> None:
    if _has_mlflow():
        pytest.skip("MLflow is installed")
    ran = await headrace_command("models", "export", "live", "--mlflow", "here", where=endpoints)
    err, code = ran.err, ran.code
    assert code == 2
    assert "mlflow-skinny" in err


def _has_mlflow() -> bool:
    return find_spec("mlflow") is not None


class FakeMlflow:
    """As much of an MlflowClient as an export asks for."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def get_experiment_by_name(self, name: str) -> None:
        self.said.append(("experiment", name))

    def create_experiment(self, name: str) -> str:
        self.said.append(("new experiment", name))
        return "1"

    def create_run(self, experiment_id: str, *, run_name: str, tags: dict[str, str]) -> Any:
        self.said.append(("run", experiment_id, run_name, tags["headrace.dataset"]))
        return SimpleNamespace(info=SimpleNamespace(run_id="r1", artifact_uri="mlflow-artifacts:/1/r1"))

    def log_metric(self, run_id: str, key: str, value: float) -> None:
        self.said.append(("metric", run_id, key, round(value, 3)))

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.said.append(("text", run_id, name, text))

    def set_terminated(self, run_id: str) -> None:
        self.said.append(("end", run_id))

    def search_registered_models(self, condition: str) -> list[Any]:
        self.said.append(("search", condition))
        return []

    def create_registered_model(self, name: str) -> None:
        self.said.append(("model", name))

    def create_model_version(self, name: str, *, source: str, run_id: str, tags: dict[str, str]) -> Any:
        self.said.append(("version", name, source, run_id, tags["headrace.model"]))
        return SimpleNamespace(version="7")


def test_mlflow_is_told_of_card_measures_and_address() -> None:
    client = FakeMlflow()
    assert export_model(service_pb2.GetModelResponse(model=model(), card="# It"), client) == "7"
    assert ("metric", "r1", "grounded", 0.4) in client.said
    assert ("text", "r1", "card.md", "# It") in client.said
    assert ("version", "acme-generator", "mlflow-artifacts:/1/r1", "r1", NAME) in client.said


def test_weights_that_others_can_reach_are_where_a_version_comes_from() -> None:
    for address, source in (
        ("s3://models/it", "s3://models/it"),
        ("file:///models/it", "runs"),
        ("/models/it", "runs"),
    ):
        assert source_of(address, artifacts="runs") == source


def test_the_pages_words_are_those_of_the_command() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "models.md").read_text("utf-8")
    for verb in ("models list", "models show", "models promote", "models rollback", "models export", "lineage model"):
        assert f"headrace {verb}" in page
