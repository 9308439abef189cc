"""Inference and the feedback logger over gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from headrace.feedback.v1 import datasets_pb2, evaluation_pb2, reports_pb2, runs_pb2
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub
from headrace.feedback.v1.evaluation_pb2_grpc import EvaluationServiceStub
from headrace.feedback.v1.reports_pb2_grpc import ReportServiceStub
from headrace.feedback.v1.runs_pb2_grpc import RunServiceStub
from headrace.inference.v1 import routes_pb2, variants_pb2
from headrace.inference.v1.routes_pb2_grpc import RouteServiceStub
from headrace.inference.v1.variants_pb2_grpc import VariantServiceStub
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TrialSetting
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable

from headrace_trainer.registry.gate import Line
from headrace_trainer.registry.models import Arm, Route, Variant
from headrace_trainer.registry.ports import Compared, Loaded, Question, Standing, Stored, Traced, TracedDataset
from headrace_trainer.registry.rules import Setting
from headrace_trainer.running.rendering import supporting

if TYPE_CHECKING:
    from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceAsyncStub
    from headrace.feedback.v1.evaluation_pb2_grpc import EvaluationServiceAsyncStub
    from headrace.feedback.v1.reports_pb2_grpc import ReportServiceAsyncStub
    from headrace.feedback.v1.runs_pb2_grpc import RunServiceAsyncStub
    from headrace.inference.v1.routes_pb2_grpc import RouteServiceAsyncStub
    from headrace.inference.v1.variants_pb2_grpc import VariantServiceAsyncStub

CALL_SECONDS = 10.0
#: A report of many answers takes seconds.
REPORT_SECONDS = 60.0
#: Who we are in the books of others.
OURSELVES = "service:trainer"

_SETTINGS = {
    "as_served": TrialSetting.TRIAL_SETTING_UNSPECIFIED,
    "own_words": TrialSetting.TRIAL_SETTING_UNCHECKED,
}
_STATES = {
    datasets_pb2.DATASET_STATE_USABLE: "usable",
    datasets_pb2.DATASET_STATE_GRANT_ENDED: "grant_ended",
    datasets_pb2.DATASET_STATE_ERASED: "erased",
}


class RemoteServing:
    """See ports.Serving."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._variants: VariantServiceAsyncStub = VariantServiceStub(channel)
        self._routes: RouteServiceAsyncStub = RouteServiceStub(channel)

    async def loaded(self, tenant: str, version: str) -> Loaded:
        with failures("inference"):
            request = variants_pb2.ListTrainedModelsRequest(tenant=tenant)
            response = await self._variants.ListTrainedModels(request, timeout=CALL_SECONDS)
        for one in response.models:
            if one.model.version == version:
                return Loaded(one.state, one.failure)
        return Loaded("absent")

    async def variant(self, tenant: str, name: str) -> Variant | None:
        try:
            found = await self._get(tenant, Variant(name, 0))
        except NotFound:
            return None
        return Variant(found.name, found.version)

    async def _get(self, tenant: str, variant: Variant) -> variants_pb2.Variant:
        request = variants_pb2.GetVariantRequest(tenant=tenant, name=variant.name, version=variant.version)
        with failures("inference", missing=("variant", variant.name)):
            return (await self._variants.GetVariant(request, timeout=CALL_SECONDS)).variant

    async def put_variant(self, tenant: str, champion: Variant, *, name: str, model_version: str) -> Variant:
        copy = await self._get(tenant, champion)
        copy.name, copy.model_version = name, model_version
        for given in ("version", "created_by", "created_at", "built_in", "broken"):
            copy.ClearField(given)
        with failures("inference"):
            request = variants_pb2.PutVariantRequest(tenant=tenant, variant=copy)
            stored = (await self._variants.PutVariant(request, timeout=CALL_SECONDS)).variant
        return Variant(stored.name, stored.version)

    async def routes(self, tenant: str) -> Sequence[Route]:
        return [_route(one) for one in await self._list(tenant, "") if not one.deleted]

    async def versions(self, tenant: str, kind: str) -> Sequence[Stored]:
        found = sorted(await self._list(tenant, kind), key=lambda one: one.version, reverse=True)
        return [
            Stored(None if one.deleted else _route(one), one.version, int(one.created_by == OURSELVES)) for one in found
        ]

    async def _list(self, tenant: str, kind: str) -> Sequence[routes_pb2.Route]:
        with failures("inference"):
            request = routes_pb2.ListRoutesRequest(tenant=tenant, kind=kind)
            return (await self._routes.ListRoutes(request, timeout=CALL_SECONDS)).routes

    async def put_route(self, tenant: str, route: Route, *, reason: str) -> Stored:
        with failures("inference"):
            request = routes_pb2.PutRouteRequest(tenant=tenant, route=_to_route(route, reason))
            stored = (await self._routes.PutRoute(request, timeout=CALL_SECONDS)).route
        return Stored(_route(stored), stored.version, 1)

    async def delete_route(self, tenant: str, kind: str, *, reason: str) -> None:
        request = routes_pb2.DeleteRouteRequest(tenant=tenant, kind=kind, reason=reason)
        try:
            with failures("inference", missing=("route", kind)):
                await self._routes.DeleteRoute(request, timeout=CALL_SECONDS)
        except NotFound:
            return


def _route(message: routes_pb2.Route) -> Route:
    rest = routes_pb2.Route()
    rest.shadows.extend(message.shadows)
    rest.limits.CopyFrom(message.limits)
    return Route(
        kind=message.kind,
        arms=tuple(Arm(_variant(arm.variant), arm.weight) for arm in message.arms),
        fallbacks=tuple(_variant(one) for one in message.fallbacks),
        rest=rest.SerializeToString().hex(),
    )


def _variant(message: routes_pb2.VariantReference) -> Variant:
    return Variant(message.name, message.version)


def _to_route(route: Route, reason: str) -> routes_pb2.Route:
    message = routes_pb2.Route.FromString(bytes.fromhex(route.rest))
    message.kind, message.reason = route.kind, reason
    for arm in route.arms:
        message.arms.add(weight=arm.weight).variant.CopyFrom(_reference(arm.variant))
    message.fallbacks.extend(_reference(variant) for variant in route.fallbacks)
    return message


def _reference(variant: Variant) -> routes_pb2.VariantReference:
    return routes_pb2.VariantReference(name=variant.name, version=variant.version)


class RemoteAsking:
    """See ports.Asking."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._runs: RunServiceAsyncStub = RunServiceStub(channel)
        self._reports: ReportServiceAsyncStub = ReportServiceStub(channel)
        self._datasets: DatasetServiceAsyncStub = DatasetServiceStub(channel)
        self._evaluations: EvaluationServiceAsyncStub = EvaluationServiceStub(channel)

    async def begin(self, tenant: str, dataset_id: str, arms: Sequence[tuple[Variant, Setting]], *, most: int) -> str:
        wanted = [_arm(variant, setting) for variant, setting in arms]
        with failures("the feedback logger", missing=("dataset", dataset_id)):
            listed = await self._runs.ListRuns(runs_pb2.ListRunsRequest(tenant=tenant), timeout=CALL_SECONDS)
            for run in listed.runs:
                if run.dataset_id == dataset_id and list(run.arms) == wanted and _goes_or_went(run):
                    return run.run_id
            request = runs_pb2.StartRunRequest(
                tenant=tenant, dataset_id=dataset_id, arms=wanted, limit=most, judges=await self._judges(tenant)
            )
            return (await self._runs.StartRun(request, timeout=REPORT_SECONDS)).run.run_id

    async def _judges(self, tenant: str) -> Sequence[str]:
        """Those that may decide; to ask the others would only take time."""
        request = evaluation_pb2.ListJudgesRequest(tenant=tenant)
        response = await self._evaluations.ListJudges(request, timeout=CALL_SECONDS)
        return [judge.name for judge in response.judges if judge.calibration.state == "calibrated"]

    async def standing(self, tenant: str, run_id: str) -> Standing:
        with failures("the feedback logger", missing=("run", run_id)):
            request = runs_pb2.GetRunRequest(tenant=tenant, run_id=run_id)
            run = (await self._runs.GetRun(request, timeout=CALL_SECONDS)).run
        match run.state:
            case runs_pb2.RUN_STATE_RUNNING:
                return Standing(is_over=False, cases=run.cases)
            case runs_pb2.RUN_STATE_DONE:
                return Standing(is_over=run.evaluated >= run.answered, cases=run.cases)
            case runs_pb2.RUN_STATE_CANCELLED:
                return Standing(is_over=True, cases=run.cases, failure="cancelled")
            case _:
                return Standing(is_over=True, cases=run.cases, failure=run.failure or "failed")

    async def compare(self, tenant: str, run_id: str, a: Variant, b: Variant, setting: Setting) -> Compared:
        with failures("the feedback logger", missing=("run", run_id)):
            request = reports_pb2.CompareRequest(
                tenant=tenant, a=_side(a, setting), b=_side(b, setting), run_id=run_id, seed=1
            )
            report = await self._reports.Compare(request, timeout=REPORT_SECONDS)
        return Compared([_line(line) for line in report.lines], report.answers_a, report.answers_b)

    async def newest_of(self, tenant: str, series: str) -> str:
        return await _newest_of(self._datasets, tenant, series)


async def _newest_of(datasets: DatasetServiceAsyncStub, tenant: str, series: str) -> str:
    with failures("the feedback logger", missing=("dataset", series)):
        request = datasets_pb2.GetDatasetRequest(tenant=tenant, dataset=series)
        dataset = (await datasets.GetDataset(request, timeout=CALL_SECONDS)).dataset
    if dataset.state != datasets_pb2.DATASET_STATE_USABLE:
        raise Conflict(f"the dataset {dataset.dataset_id} may not be used any more")
    return dataset.dataset_id


def _goes_or_went(run: runs_pb2.Run) -> bool:
    return run.state in (runs_pb2.RUN_STATE_RUNNING, runs_pb2.RUN_STATE_DONE)


def _arm(variant: Variant, setting: Setting) -> runs_pb2.RunArm:
    named = Versioned(name=variant.name, version=str(variant.version))
    return runs_pb2.RunArm(variant=named, setting=_SETTINGS[setting])


def _side(variant: Variant, setting: Setting) -> reports_pb2.Side:
    named = Versioned(name=variant.name, version=str(variant.version))
    return reports_pb2.Side(variant=named, setting=_SETTINGS[setting])


def _line(line: reports_pb2.ReportLine) -> Line:
    return Line(
        kind=line.kind,
        measure=line.measure,
        a=line.a.value,
        b=line.b.value,
        low=line.difference.low,
        high=line.difference.high,
        pairs=line.difference.answers,
        decides=line.decides,
        lost=line.lost,
    )


class RemoteQuestions:
    """See ports.Questions."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets: DatasetServiceAsyncStub = DatasetServiceStub(channel)

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Question]:
        request = datasets_pb2.ReadDatasetRequest(tenant=tenant, dataset=dataset_id, split=datasets_pb2.SPLIT_TEST)
        found: list[Question] = []
        with failures("the feedback logger", missing=("dataset", dataset_id)):
            async for response in self._datasets.ReadDataset(request, timeout=REPORT_SECONDS):
                found += [_question(row) for row in response.rows if row.question and not row.unanswerable]
                if len(found) >= most:
                    break
        return found[:most]

    async def newest_of(self, tenant: str, series: str) -> str:
        return await _newest_of(self._datasets, tenant, series)


def _question(row: datasets_pb2.DatasetRow) -> Question:
    numbers = supporting(row.answer, row.passages)
    ids = [row.passage_ids[number - 1] for number in numbers if number <= len(row.passage_ids)]
    # Of a logged row the documents are all that were found; of an imported one those that answer it.
    documents = () if row.passages else row.documents
    return Question(row.row_id, row.question, row.kind, row.group, frozenset(ids), frozenset(documents))


class RemoteRows:
    """See ports.Rows."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets: DatasetServiceAsyncStub = DatasetServiceStub(channel)

    async def trace(self, tenant: str, what: str, value: str) -> Traced:
        request = datasets_pb2.TraceRowsRequest(tenant=tenant)
        setattr(request, what, value)
        # Of what: ids may be shown, a person's name may not.
        shown = "" if what == "subject" else value
        with failures("the feedback logger", missing=(what.replace("_id", ""), shown)):
            response = await self._datasets.TraceRows(request, timeout=CALL_SECONDS)
        return Traced(
            datasets=[_traced(one) for one in response.datasets],
            answers=response.answers,
            query_ids=list(response.query_ids),
            documents=list(response.documents),
        )

    async def ended_by(self, tenant: str, by: str) -> Sequence[str]:
        with failures("the feedback logger"):
            request = datasets_pb2.ListDatasetsRequest(tenant=tenant)
            response = await self._datasets.ListDatasets(request, timeout=REPORT_SECONDS)
        erased = datasets_pb2.DATASET_STATE_ERASED
        return [one.dataset_id for one in response.datasets if one.state == erased and one.ended_by == by]


def _traced(one: datasets_pb2.TracedDataset) -> TracedDataset:
    return TracedDataset(
        dataset_id=one.dataset_id,
        name=one.name,
        state=_STATES.get(one.state, ""),
        rows=one.rows,
        row_ids=tuple(one.row_ids),
        grants=tuple(one.grants),
        tier=Tier.of(one.tier),
    )


@contextmanager
def failures(neighbour: str, *, missing: tuple[str, str] = ("thing", "")) -> Iterator[None]:
    """As the registry's errors. No text of one goes on: it may quote the request."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        match error.code():
            case grpc.StatusCode.NOT_FOUND:
                raise NotFound(*missing) from None
            case grpc.StatusCode.PERMISSION_DENIED:
                raise Denied(f"{neighbour} does not let the trainer see it") from None
            case (
                grpc.StatusCode.INVALID_ARGUMENT
                | grpc.StatusCode.FAILED_PRECONDITION
                | grpc.StatusCode.INTERNAL
                | grpc.StatusCode.UNKNOWN
                | grpc.StatusCode.UNIMPLEMENTED
            ):
                raise Conflict(f"{neighbour} does not take it: {error.code().name}") from None
        raise Unavailable(neighbour.removeprefix("the ")) from None
