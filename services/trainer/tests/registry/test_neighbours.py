# ruff: noqa: N802  (gRPC names the methods)
"""The neighbours over real gRPC, played by fakes: what is asked of them, and how they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from headrace.feedback.v1 import (
    datasets_pb2,
    datasets_pb2_grpc,
    evaluation_pb2,
    evaluation_pb2_grpc,
    reports_pb2,
    reports_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)
from headrace.inference.v1 import routes_pb2, routes_pb2_grpc, variants_pb2, variants_pb2_grpc
from headrace.privacy.v1.privacy_pb2 import TIER_2
from headrace.query.v1.query_pb2 import TRIAL_SETTING_UNCHECKED, TRIAL_SETTING_UNSPECIFIED
from headrace.retrieval.v1 import service_pb2 as retrieval_pb2
from headrace.retrieval.v1 import service_pb2_grpc as retrieval_pb2_grpc
from headrace.retrieval.v1.service_pb2 import IndexState
from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable
from headrace_trainer.registry.indexes import RemoteIndexes
from headrace_trainer.registry.models import Arm, Route, Variant
from headrace_trainer.registry.neighbours import OURSELVES, RemoteAsking, RemoteQuestions, RemoteRows, RemoteServing
from headrace_trainer.registry.ports import HOUSE, Found, Loaded

from services.trainer.tests.registry.makers import a_model

DEFAULT, TUNED = Variant("default", 1), Variant("tuned", 1)
SOMEBODY = "somebody-who-is-named-nowhere"


class House(
    variants_pb2_grpc.VariantServiceServicer,
    routes_pb2_grpc.RouteServiceServicer,
    runs_pb2_grpc.RunServiceServicer,
    reports_pb2_grpc.ReportServiceServicer,
    datasets_pb2_grpc.DatasetServiceServicer,
    evaluation_pb2_grpc.EvaluationServiceServicer,
    retrieval_pb2_grpc.RetrievalServiceServicer,
):
    """As much of all as the registry asks for."""

    def __init__(self) -> None:
        self.put: list[Any] = []
        self.routes: list[routes_pb2.Route] = []
        self.runs: list[runs_pb2.Run] = []
        self.refusal: grpc.StatusCode | None = None
        self.indexes: list[tuple[Any, str]] = []

    async def _refuse(self, context: Any) -> None:
        if self.refusal:
            await context.abort(self.refusal, f"about {SOMEBODY}")

    async def ListTrainedModels(self, request: Any, context: Any) -> Any:
        await self._refuse(context)
        one = variants_pb2.TrainedModel(state="failed", failure="corrupt")
        one.model.version = "v1"
        return variants_pb2.ListTrainedModelsResponse(models=[one])

    async def GetVariant(self, request: Any, context: Any) -> Any:
        if request.name == "none":
            await context.abort(grpc.StatusCode.NOT_FOUND, "none")
        variant = variants_pb2.Variant(name=request.name, version=request.version or 4, prompt="grounded-answer")
        variant.reading.passages, variant.built_in, variant.created_by = 2, True, "dana"
        return variants_pb2.GetVariantResponse(variant=variant)

    async def PutVariant(self, request: Any, context: Any) -> Any:
        self.put.append(request.variant)
        return variants_pb2.PutVariantResponse(variant=variants_pb2.Variant(name=request.variant.name, version=7))

    async def ListRoutes(self, request: Any, context: Any) -> Any:
        found = [one for one in self.routes if request.kind in ("", one.kind)]
        return routes_pb2.ListRoutesResponse(routes=found)

    async def PutRoute(self, request: Any, context: Any) -> Any:
        self.put.append(request.route)
        stored = routes_pb2.Route()
        stored.CopyFrom(request.route)
        stored.version, stored.created_by = 3, OURSELVES
        return routes_pb2.PutRouteResponse(route=stored)

    async def DeleteRoute(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.NOT_FOUND, "none")

    async def ListRuns(self, request: Any, context: Any) -> Any:
        return runs_pb2.ListRunsResponse(runs=self.runs)

    async def StartRun(self, request: Any, context: Any) -> Any:
        await self._refuse(context)
        self.put.append(request)
        run = runs_pb2.Run(
            run_id=f"r{len(self.runs) + 1}",
            dataset_id=request.dataset_id,
            arms=request.arms,
            state=runs_pb2.RUN_STATE_RUNNING,
            cases=20,
        )
        self.runs.append(run)
        return runs_pb2.StartRunResponse(run=run)

    async def GetRun(self, request: Any, context: Any) -> Any:
        return runs_pb2.GetRunResponse(run=next(run for run in self.runs if run.run_id == request.run_id))

    async def ListJudges(self, request: Any, context: Any) -> Any:
        judges = [evaluation_pb2.Judge(name=name) for name in ("fair", "rash")]
        judges[0].calibration.state = "calibrated"
        return evaluation_pb2.ListJudgesResponse(judges=judges)

    async def Compare(self, request: Any, context: Any) -> Any:
        self.put.append(request)
        line = reports_pb2.ReportLine(measure="grounded", decides=True, lost=2)
        line.a.value, line.b.value, line.difference.low, line.difference.answers = 0.5, 0.4, -0.2, 20
        return reports_pb2.CompareResponse(lines=[line], answers_a=20, answers_b=19)

    async def GetDataset(self, request: Any, context: Any) -> Any:
        state = datasets_pb2.DATASET_STATE_ERASED if request.dataset == "gone" else datasets_pb2.DATASET_STATE_USABLE
        return datasets_pb2.GetDatasetResponse(dataset=datasets_pb2.Dataset(dataset_id="d1", state=state))

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        ended = datasets_pb2.Dataset(dataset_id="d1", state=datasets_pb2.DATASET_STATE_ERASED, ended_by="erasure 1")
        return datasets_pb2.ListDatasetsResponse(datasets=[ended, datasets_pb2.Dataset(dataset_id="d2")])

    async def ReadDataset(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadDatasetResponse]:
        assert request.split == datasets_pb2.SPLIT_TEST
        logged = datasets_pb2.DatasetRow(
            row_id="r1",
            kind="how-to",
            group="g1",
            question="What does a sluice do?",
            answer="A sluice is a gate that controls the water [1].",
            passages=["The tailrace carries water away.", "A sluice is a gate that controls the water."],
            passage_ids=["c1", "c2"],
            documents=["handbook/mills", "handbook/races"],
        )
        imported = datasets_pb2.DatasetRow(row_id="r2", question="What is a weir?", documents=["handbook/mills"])
        nowhere = datasets_pb2.DatasetRow(row_id="r3", question="Who is the miller?", unanswerable=True)
        yield datasets_pb2.ReadDatasetResponse(rows=[logged, nowhere])
        yield datasets_pb2.ReadDatasetResponse(rows=[imported])

    async def PrepareIndex(self, request: Any, context: Any) -> Any:
        self.put.append(request)
        return retrieval_pb2.PrepareIndexResponse()

    async def GetIndex(self, request: Any, context: Any) -> Any:
        indexes = [
            retrieval_pb2.TrainedIndex(
                model="acme-embedder@0123456789abcdef", state=state, failure=failure, filled=3, chunks=9
            )
            for state, failure in self.indexes[:1]
        ]
        return retrieval_pb2.GetIndexResponse(live="acme-embedder@live", indexes=indexes)

    async def SwitchIndex(self, request: Any, context: Any) -> Any:
        await self._refuse(context)
        self.put.append(request)
        return retrieval_pb2.SwitchIndexResponse()

    async def Search(self, request: Any, context: Any) -> Any:
        self.put.append(request)
        response = retrieval_pb2.SearchResponse()
        reference = response.chunks.add().reference
        reference.chunk_id, reference.source, reference.document_id = "c2", "handbook", "mills"
        return response

    async def TraceRows(self, request: Any, context: Any) -> Any:
        await self._refuse(context)
        one = datasets_pb2.TracedDataset(dataset_id="d1", rows=2, row_ids=["q1"], tier=2, state=1)
        return datasets_pb2.TraceRowsResponse(datasets=[one], answers=3)


@pytest.fixture
async def house() -> House:
    return House()


@pytest.fixture
async def channel(house: House) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    variants_pb2_grpc.add_VariantServiceServicer_to_server(house, server)
    routes_pb2_grpc.add_RouteServiceServicer_to_server(house, server)
    runs_pb2_grpc.add_RunServiceServicer_to_server(house, server)
    reports_pb2_grpc.add_ReportServiceServicer_to_server(house, server)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(house, server)
    evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(house, server)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(house, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(0)


async def test_a_candidates_variant_differs_in_its_model_alone(house: House, channel: grpc.aio.Channel) -> None:
    stored = await RemoteServing(channel).put_variant("acme", DEFAULT, name="tuned", model_version="v1")
    assert stored == Variant("tuned", 7)
    (put,) = house.put
    assert (put.name, put.model_version, put.prompt, put.reading.passages) == ("tuned", "v1", "grounded-answer", 2)
    assert (put.version, put.built_in, put.created_by) == (0, False, "")


async def test_what_is_known_of_variants_and_models(channel: grpc.aio.Channel) -> None:
    serving = RemoteServing(channel)
    assert await serving.variant("acme", "default") == Variant("default", 4)
    assert await serving.variant("acme", "none") is None
    assert await serving.loaded("acme", "v1") == Loaded("failed", "corrupt")
    assert await serving.loaded("acme", "v2") == Loaded("absent")


async def test_a_route_keeps_what_is_not_the_registrys(house: House, channel: grpc.aio.Channel) -> None:
    theirs = routes_pb2.Route(kind="*", version=2, created_by="dana", reason="mine")
    theirs.arms.add(weight=3.0).variant.name = "default"
    theirs.arms[0].variant.version = 1
    theirs.limits.latency_ms = 900
    theirs.shadows.add(share=0.5).variant.name = "short"
    gone = routes_pb2.Route(kind="*", version=1, deleted=True, created_by=OURSELVES)
    house.routes = [gone, theirs]
    serving = RemoteServing(channel)
    newest, before = await serving.versions("acme", "*")
    assert (newest.version, newest.by_us, before.route, before.by_us) == (2, 0, None, 1)
    assert newest.route is not None
    assert await serving.routes("acme") == [newest.route]
    changed = Route("*", (Arm(DEFAULT, 2.0), Arm(TUNED, 1.0)), (DEFAULT,), newest.route.rest)
    stored = await serving.put_route("acme", changed, reason="why")
    assert stored.version == 3
    assert changed.same_as(stored.route)
    (put,) = house.put
    assert (put.limits.latency_ms, put.shadows[0].share, put.reason) == (900, 0.5, "why")
    await serving.delete_route("acme", "*", reason="why")


async def test_a_run_is_begun_once_with_the_judges_that_may_decide(house: House, channel: grpc.aio.Channel) -> None:
    asking = RemoteAsking(channel)
    arms = [(DEFAULT, "as_served"), (TUNED, "own_words")]
    first = await asking.begin("acme", "d1", arms, most=24)  # type: ignore[arg-type]
    assert await asking.begin("acme", "d1", arms, most=24) == first  # type: ignore[arg-type]
    (put,) = house.put
    assert (list(put.judges), put.limit) == (["fair"], 24)
    assert [arm.setting for arm in put.arms] == [TRIAL_SETTING_UNSPECIFIED, TRIAL_SETTING_UNCHECKED]
    assert not (await asking.standing("acme", first)).is_over
    house.runs[0].state, house.runs[0].answered, house.runs[0].evaluated = runs_pb2.RUN_STATE_DONE, 80, 79
    assert not (await asking.standing("acme", first)).is_over, "what is not evaluated yet is not compared"
    house.runs[0].evaluated = 80
    assert (await asking.standing("acme", first)).is_over
    house.runs[0].state, house.runs[0].failure = runs_pb2.RUN_STATE_FAILED, "grant_ended"
    assert (await asking.standing("acme", first)).failure == "grant_ended"
    assert await asking.begin("acme", "d1", arms, most=24) != first, "one that failed is begun anew"  # type: ignore[arg-type]


async def test_a_report_is_read(house: House, channel: grpc.aio.Channel) -> None:
    found = await RemoteAsking(channel).compare("acme", "r1", DEFAULT, TUNED, "own_words")
    assert (found.answers_a, found.answers_b) == (20, 19)
    (line,) = found.lines
    assert (line.measure, line.a, line.b, line.low, line.pairs, line.lost, line.decides) == (
        "grounded", 0.5, 0.4, -0.2, 20, 2, True,
    )  # fmt: skip
    assert house.put[0].b.variant.name == "tuned"


async def test_datasets_and_rows(channel: grpc.aio.Channel) -> None:
    asking, rows = RemoteAsking(channel), RemoteRows(channel)
    assert await asking.newest_of("acme", "must") == "d1"
    with pytest.raises(Conflict):
        await asking.newest_of("acme", "gone")
    assert await rows.ended_by("acme", "erasure 1") == ["d1"]
    traced = await rows.trace("acme", "subject", SOMEBODY)
    assert (traced.datasets[0].rows, traced.datasets[0].tier.label, traced.answers) == (2, "tier_1", 3)


async def test_held_out_rows_name_the_passages_that_bear_their_answers_out(channel: grpc.aio.Channel) -> None:
    questions = RemoteQuestions(channel)
    logged, imported = await questions.held_out("acme", "d1", most=9)
    assert (logged.text, logged.kind, logged.group) == ("What does a sluice do?", "how-to", "g1")
    assert (logged.passages, logged.documents) == ({"c2"}, set())
    assert (imported.passages, imported.documents, imported.is_answered) == (set(), {"handbook/mills"}, True)
    assert [one.row_id for one in await questions.held_out("acme", "d1", most=1)] == ["r1"]
    assert "sluice" not in repr(logged)
    assert await questions.newest_of("acme", "must") == "d1"


async def test_indexes_are_prepared_looked_at_searched_and_switched(house: House, channel: grpc.aio.Channel) -> None:
    indexes, model = RemoteIndexes(channel), a_model("acme-embedder@0123456789abcdef")
    await indexes.prepare(model)
    prepared = house.put[0].embedder
    assert (prepared.tenant, prepared.model, dict(prepared.files)) == ("acme", model.model, dict(model.files))
    house.indexes = [(IndexState.INDEX_STATE_PREPARING, ""), (IndexState.INDEX_STATE_PREPARING, "unavailable")]
    house.indexes += [(IndexState.INDEX_STATE_PREPARING, "corrupt"), (IndexState.INDEX_STATE_READY, "")]
    house.indexes += [(IndexState.INDEX_STATE_STANDING_BY, ""), (IndexState.INDEX_STATE_GONE, "")]
    states = []
    while house.indexes:
        loaded = await indexes.loaded(model)
        states.append((loaded.state, loaded.failure))
        assert (loaded.done, loaded.of) == (3, 9)
        house.indexes.pop(0)
    assert states == [
        ("loading", ""), ("loading", "unavailable"), ("failed", "corrupt"), ("up", ""), ("up", ""), ("absent", ""),
    ]  # fmt: skip
    assert (await indexes.loaded(model)).state == "absent"
    assert await indexes.answers("acme") == "acme-embedder@live"
    found = await indexes.search("acme", "What does a sluice do?", embedder=HOUSE, most=20)
    assert found == [Found("c2", "handbook/mills")]
    search = house.put[-1]
    assert (search.embedder, search.top_k, search.max_tier) == ("house", 20, TIER_2)
    await indexes.search("acme", "What?", embedder=model.model, most=8)
    assert house.put[-1].embedder == model.model
    await indexes.switch("acme", HOUSE, instead_of=model.model)
    assert (house.put[-1].model, house.put[-1].expected) == ("", model.model)
    house.refusal = grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(Conflict):
        await indexes.switch("acme", model.model, instead_of=HOUSE)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
        (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
    ],
)
async def test_errors_say_what_to_do_and_repeat_no_words(
    house: House, channel: grpc.aio.Channel, code: grpc.StatusCode, error: type[Exception]
) -> None:
    house.refusal = code
    with pytest.raises(error) as raised:
        await RemoteRows(channel).trace("acme", "subject", SOMEBODY)
    assert SOMEBODY not in str(raised.value)
