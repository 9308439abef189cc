"""The services of the loop, asked wrongly from outside: each wrong field is named, nobody else notices.

Two tenants of its own on the house that the other tests of calls share; no model is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from headrace.drift.v1 import service_pb2 as drift
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_EVALUATE
from headrace.training.v1 import service_pb2 as training
from headrace.training.v1.training_pb2 import CAUSE_STEWARD, Recipe
from headrace_embedded.trial import Trial

from tests.security.calls.drifting import DRIFT
from tests.security.calls.house import House, Outcome
from tests.security.calls.learning import DATASETS, import_dataset
from tests.security.calls.modelling import MODELS, NOBODYS
from tests.security.calls.principals import EVERYBODY, Tokens
from tests.security.calls.training import LOOP, TRAINING, _own_training
from tests.security.calls.world import Side
from tests.security.methods import descriptors

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

#: What somebody wrote; nobody else may read it.
CANARY = "zanzibarine"
LONG = f"{CANARY} " * 87_382
BEYOND = Timestamp(seconds=10**12)
OK, INVALID, MISSING = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
#: What the gRPC library itself says of bytes that it cannot read.
REFUSED = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED)
DENIED, NOT_NOW = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION

#: A method's name, what is wrong with its request, the code, and the field that must be named, if one is.
Wrong = tuple[str, Message, grpc.StatusCode, str]


def drift_wrongs(t: str) -> Iterator[Wrong]:
    report, alert, baseline = f"{DRIFT}/GetReport", f"{DRIFT}/GetAlert", f"{DRIFT}/SetBaseline"
    later, earlier = Timestamp(seconds=200_000), Timestamp(seconds=100_000)
    yield report, drift.GetReportRequest(tenant=t, at=BEYOND), INVALID, "at"
    yield report, drift.GetReportRequest(tenant=t, product=LONG, kind=LONG), NOT_NOW, ""
    yield f"{DRIFT}/ListAlerts", drift.ListAlertsRequest(tenant=t, state=99), INVALID, "state"  # type: ignore[arg-type]
    for wrong in ("", CANARY, LONG, "\0"):
        yield alert, drift.GetAlertRequest(tenant=t, alert_id=wrong), INVALID, "alert_id"
    yield alert, drift.GetAlertRequest(tenant=t, alert_id=str(uuid4())), MISSING, ""
    yield baseline, drift.SetBaselineRequest(tenant=t), INVALID, "dataset"
    yield baseline, drift.SetBaselineRequest(tenant=t, dataset=CANARY, until=later), INVALID, "dataset"
    yield baseline, drift.SetBaselineRequest(tenant=t, until=earlier, **{"from": later}), INVALID, "until"
    yield baseline, drift.SetBaselineRequest(tenant=t, until=BEYOND, **{"from": later}), INVALID, "until"
    for wrong in (LONG, f"{CANARY}\0", f"{CANARY} of mine"):
        yield baseline, drift.SetBaselineRequest(tenant=t, dataset=wrong), INVALID, "dataset"


def training_wrongs(t: str) -> Iterator[Wrong]:
    start = f"{TRAINING}/StartTraining"

    def wish(**wrong: Any) -> Message:
        return training.StartTrainingRequest(tenant=t, **wrong)

    yield start, wish(target=99), INVALID, "target"
    yield start, wish(cause=99), INVALID, "cause"
    yield start, wish(base=LONG), INVALID, "base"
    yield start, wish(base=f"../{CANARY}"), INVALID, "base"
    yield start, wish(because=[f"document notes/{CANARY}"] * 101), INVALID, "because"
    yield start, wish(because=[LONG]), INVALID, "because"
    yield start, wish(recipe=Recipe(method=99)), INVALID, "recipe.method"  # type: ignore[arg-type]
    yield start, wish(recipe=Recipe(epochs=float("nan"))), INVALID, "recipe.epochs"
    yield start, wish(recipe=Recipe(learning_rate=-1.0)), INVALID, "recipe.learning_rate"
    yield start, wish(query=DatasetQuery(purpose=PURPOSE_EVALUATE)), INVALID, "query.purpose"
    yield start, wish(query=DatasetQuery(products=[LONG])), INVALID, "query"
    for wrong in (LONG, CANARY.upper(), f"{CANARY}\0"):
        yield start, wish(dataset=wrong), INVALID, "dataset"
    yield start, wish(dataset="f" * 64), MISSING, ""
    for method, kind in (
        ("GetTraining", training.GetTrainingRequest),
        ("WatchTraining", training.WatchTrainingRequest),
        ("CancelTraining", training.CancelTrainingRequest),
    ):
        yield f"{TRAINING}/{method}", kind(tenant=t), INVALID, "run_id"
        for wrong in (f"{CANARY} is no id", LONG, "\0", str(uuid4())):
            yield f"{TRAINING}/{method}", kind(tenant=t, run_id=wrong), MISSING, ""


def model_wrongs(t: str) -> Iterator[Wrong]:
    yield f"{MODELS}/ListModels", training.ListModelsRequest(tenant=t, state=99), INVALID, "state"  # type: ignore[arg-type]
    yield f"{MODELS}/ListModels", training.ListModelsRequest(tenant=t, target=99), INVALID, "target"  # type: ignore[arg-type]
    for method, kind in (
        ("GetModel", training.GetModelRequest),
        ("PromoteModel", training.PromoteModelRequest),
        ("RollBackModel", training.RollBackModelRequest),
    ):
        for wrong in ("", LONG, f"{CANARY}\0"):
            yield f"{MODELS}/{method}", kind(tenant=t, model=wrong), INVALID, "model"
        for wrong in (f"{CANARY} is No Model", NOBODYS, "live", "0" * 16):
            yield f"{MODELS}/{method}", kind(tenant=t, model=wrong), MISSING, ""
    for wrong in (LONG, f"{CANARY}\0"):
        promote = training.PromoteModelRequest(tenant=t, model=NOBODYS, reason=wrong)
        roll_back = training.RollBackModelRequest(tenant=t, model=NOBODYS, reason=wrong)
        yield f"{MODELS}/PromoteModel", promote, INVALID, "reason"
        yield f"{MODELS}/RollBackModel", roll_back, INVALID, "reason"
    trace = f"{MODELS}/TraceLineage"
    yield trace, training.TraceLineageRequest(tenant=t), INVALID, "what"
    for field in ("model", "dataset", "source", "document", "subject", "query_id"):
        for wrong in ("", LONG, f"{CANARY}\0"):
            yield trace, training.TraceLineageRequest(tenant=t, **{field: wrong}), INVALID, field
    for field in ("dataset", "source", "document", "query_id"):
        yield trace, training.TraceLineageRequest(tenant=t, **{field: f"No {CANARY}"}), INVALID, field
    yield trace, training.TraceLineageRequest(tenant=t, query_id=str(uuid4())), MISSING, ""
    yield trace, training.TraceLineageRequest(tenant=t, dataset="f" * 64), MISSING, ""


def loop_wrongs(t: str) -> Iterator[Wrong]:
    put = f"{LOOP}/PutLoopRules"

    def rules(**wrong: Any) -> Message:
        return training.PutLoopRulesRequest(tenant=t, rules=training.LoopRules(**wrong))

    yield put, training.PutLoopRulesRequest(tenant=t), INVALID, "rules"
    yield put, rules(canary_share=2.0), INVALID, "rules.canary_share"
    yield put, rules(canary_margin=float("nan")), INVALID, "rules.canary_margin"
    yield put, rules(schedule_seconds=1), INVALID, "rules.schedule_seconds"
    yield put, rules(canary_kinds=["how-to"] * 101), INVALID, "rules.canary_kinds"
    yield put, rules(must_pass=LONG), INVALID, "rules.must_pass"
    yield put, rules(champion_variant=LONG), INVALID, "rules.champion_variant"
    yield put, rules(base=f"{CANARY}/.."), INVALID, "rules.base"
    yield put, rules(base="nobody"), MISSING, ""
    yield put, rules(recipe=Recipe(rank=10_000)), INVALID, "rules.recipe.rank"
    yield put, rules(query=DatasetQuery(products=[LONG])), INVALID, "rules.query"
    yield put, rules(query=DatasetQuery(without_subjects=[CANARY])), INVALID, "rules.query.without_subjects"
    for wrong in (LONG, f"{CANARY}\0"):
        yield f"{LOOP}/PauseLoop", training.PauseLoopRequest(tenant=t, reason=wrong), INVALID, "reason"


def wrongs(t: str) -> list[Wrong]:
    """Everything of a tenant's that is asked wrongly."""
    return [*drift_wrongs(t), *training_wrongs(t), *model_wrongs(t), *loop_wrongs(t)]


def of_nobody(methods: list[str]) -> Iterator[tuple[str, Message]]:
    """Each method for tenants that there can be none of."""
    for method in methods:
        made = GetMessageClass(descriptors()[method].input_type)
        for tenant in (f"{CANARY} {CANARY}", LONG, "\0"):
            yield method, made(tenant=tenant)


def fields(outcome: Outcome) -> list[str]:
    """The fields that a refusal names."""
    bad = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(outcome.details).details:
        detail.Unpack(bad)
    return [violation.field for violation in bad.field_violations]


def told(outcome: Outcome) -> bool:
    """Whether a refusal repeats what somebody wrote."""
    return CANARY in outcome.words.lower() or CANARY.encode() in outcome.details.lower()


@pytest.fixture
def pair(house: House, tokens: Tokens) -> tuple[Side, Side]:
    """Two tenants who have nothing yet."""
    unique = uuid4().hex[:8]
    return Side(house, tokens, f"here-{unique}"), Side(house, tokens, f"there-{unique}")


@pytest.fixture
def parts(stack: Trial) -> Iterator[list[psutil.Process]]:
    """The processes of both services, which must be the same afterwards, and have written no word of what was asked."""
    before = [psutil.Process(stack.part(name).pid) for name in ("drift", "trainer")]
    yield before
    assert [psutil.Process(stack.part(name).pid) for name in ("drift", "trainer")] == before
    logs = [path for path in Path(stack.home).rglob("*.log") if path.is_file()]
    assert logs
    assert [path.name for path in logs if CANARY.encode() in path.read_bytes().lower()] == []


async def test_what_is_wrong_is_named_and_nobody_else_notices(
    house: House, tokens: Tokens, pair: tuple[Side, Side], parts: list[psutil.Process]
) -> None:
    ours, theirs = pair
    run_id = await _own_training(theirs)
    token = tokens.of("developer", ours.tenant)
    wrong = wrongs(ours.tenant)
    outcomes = await asyncio.gather(*(house.call(method, request, token) for method, request, *_ in wrong))
    found = [
        (method, field or code.name, outcome.code.name, fields(outcome))
        for (method, _, code, field), outcome in zip(wrong, outcomes, strict=True)
        if outcome.code is not code or (field and fields(outcome) != [field]) or told(outcome)
    ]
    assert not found, "\n".join(map(str, found))
    stands: Any = await theirs.do(
        "developer", f"{TRAINING}/GetTraining", training.GetTrainingRequest(tenant=theirs.tenant, run_id=run_id)
    )
    assert stands.run.run_id == run_id
    listed: Any = await ours.do(
        "developer", f"{TRAINING}/ListTrainings", training.ListTrainingsRequest(tenant=ours.tenant)
    )
    assert not listed.runs


async def test_a_tenant_that_there_can_be_none_of_is_nobodys(
    house: House, tokens: Tokens, parts: list[psutil.Process]
) -> None:
    """Whoever speaks for one tenant is denied; whoever may speak for all is told what is wrong."""
    methods = [method for method in house.methods if method.rpartition("/")[0] in (DRIFT, TRAINING, MODELS, LOOP)]
    assert len(methods) == 19
    wrong = [*of_nobody(methods)]
    one, everybody = tokens.of("developer", "here"), tokens.of("sre", EVERYBODY)
    denied = await asyncio.gather(*(house.call(method, request, one) for method, request in wrong))
    assert {(m, o.code) for (m, _), o in zip(wrong, denied, strict=True) if o.code is not DENIED or told(o)} == set()
    answered = await asyncio.gather(*(house.call(method, request, everybody) for method, request in wrong))
    assert {
        (m, o.code) for (m, _), o in zip(wrong, answered, strict=True) if o.code not in (INVALID, DENIED) or told(o)
    } == set()


async def test_what_another_tenant_has_is_not_there(
    house: House, tokens: Tokens, pair: tuple[Side, Side], parts: list[psutil.Process]
) -> None:
    ours, theirs = pair
    run_id = await _own_training(theirs)
    dataset = (
        await theirs.once("dataset", "developer", f"{DATASETS}/ImportDataset", await import_dataset(theirs))
    ).dataset
    here = {"tenant": ours.tenant}
    asked = [
        (f"{TRAINING}/GetTraining", training.GetTrainingRequest(**here, run_id=run_id)),
        (f"{TRAINING}/WatchTraining", training.WatchTrainingRequest(**here, run_id=run_id)),
        (f"{TRAINING}/CancelTraining", training.CancelTrainingRequest(**here, run_id=run_id)),
        (f"{TRAINING}/StartTraining", training.StartTrainingRequest(**here, dataset=dataset.dataset_id)),
        (f"{DRIFT}/SetBaseline", drift.SetBaselineRequest(**here, dataset=dataset.dataset_id)),
        (f"{MODELS}/TraceLineage", training.TraceLineageRequest(**here, dataset=dataset.dataset_id)),
    ]
    token = tokens.of("developer", ours.tenant)
    outcomes = await asyncio.gather(*(house.call(method, request, token) for method, request in asked))
    assert [(m, o.code) for (m, _), o in zip(asked, outcomes, strict=True) if o.code is not MISSING] == []


async def test_bytes_that_are_no_request_are_refused(
    stack: Trial, house: House, tokens: Tokens, parts: list[psutil.Process]
) -> None:
    """Half a message, text that is no UTF-8, and more than is read at all. A number where a text belongs is no field of
    anybody's, so that it is passed over: the one whose token it is asks for their own."""
    token = (("authorization", f"Bearer {tokens.of('developer', 'here')}"),)
    wire = {
        "cut off": b"\x0a\xff",
        "no UTF-8": b"\x0a\x02\xff\xfe",
        "too much": b"\x0a\x80\x80\x80\x04" + CANARY.encode() * 800_000,
    }
    for service, method in (("drift", f"{DRIFT}/ListAlerts"), ("trainer", f"{LOOP}/GetLoop")):
        async with grpc.aio.insecure_channel(stack.endpoints.services[service].split(",")[0]) as channel:
            call: Any = channel.unary_unary(f"/{method}")
            await call(b"\x08\x05", metadata=token, timeout=10)
            for name, request in wire.items():
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(request, metadata=token, timeout=10)
                assert refused.value.code() in REFUSED, name
                assert CANARY not in (refused.value.details() or "")
    asked = training.GetLoopRequest(tenant="here")
    assert (await house.call(f"{LOOP}/GetLoop", asked, tokens.of("developer", "here"))).code is OK


async def test_watches_that_are_left_in_the_middle_leave_nothing(
    stack: Trial, tokens: Tokens, pair: tuple[Side, Side], parts: list[psutil.Process]
) -> None:
    """By a cancelled call, and by a client that is gone."""
    ours, _ = pair
    await ours.do(
        "developer",
        f"{LOOP}/PutLoopRules",
        training.PutLoopRulesRequest(
            tenant=ours.tenant, rules=training.LoopRules(automatic=True, debounce_seconds=604_800)
        ),
    )
    started: Any = await ours.do(
        "developer", f"{TRAINING}/StartTraining", training.StartTrainingRequest(tenant=ours.tenant, cause=CAUSE_STEWARD)
    )  # type: ignore[arg-type]
    request = training.WatchTrainingRequest(tenant=ours.tenant, run_id=started.run.run_id)
    metadata = (("authorization", f"Bearer {tokens.of('developer', ours.tenant)}"),)
    trainer, address = parts[1], stack.endpoints.services["trainer"].split(",")[0]

    async def watch(leave: str) -> None:
        async with grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            kind: Any = channel.unary_stream(
                f"/{TRAINING}/WatchTraining", lambda m: m.SerializeToString(), training.WatchTrainingResponse.FromString
            )
            call = kind(request, metadata=metadata, timeout=60)
            assert (await call.read()).run.run_id == request.run_id
            if leave == "cancelled":
                call.cancel()

    async def many() -> None:
        await asyncio.gather(*(watch(leave) for leave in ("cancelled", "gone") * 10))

    # The first ones have the trainer open all the connections to its database that it will ever have.
    await many()
    await asyncio.sleep(2.0)
    before = trainer.num_fds(), trainer.num_threads()
    for _ in range(2):
        await many()
    for _ in range(100):
        if trainer.num_fds() <= before[0] + 3:
            break
        await asyncio.sleep(0.1)
    assert trainer.num_fds() <= before[0] + 3
    assert trainer.num_threads() <= before[1] + 16
    stopped = training.CancelTrainingRequest(tenant=ours.tenant, run_id=request.run_id)
    await ours.do("developer", f"{TRAINING}/CancelTraining", stopped)
