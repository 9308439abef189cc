"""Between the wire and runs: what is wrong is said, all of it at once, and what is right comes back the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_GRANT_ENDED, DatasetEnded, DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_SHARE, PURPOSE_TRAIN
from headrace.training.v1 import service_pb2, training_pb2
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Rejected
from headrace_trainer.learning import job
from headrace_trainer.learning.failures import Reason
from headrace_trainer.running.failures import WORDS
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import (
    BY_ITSELF,
    Base,
    Cause,
    Made,
    Method,
    Point,
    Recipe,
    Run,
    Snapshot,
    State,
    Target,
)
from headrace_trainer.running.translate import (
    ended_event,
    read_ended,
    read_pause,
    read_rules,
    read_run_id,
    read_wish,
    recipe_of,
    rules_of_json,
    rules_to_json,
    to_rules,
    to_run,
    train_query,
)

from services.trainer.tests.running.house import NOW

RUN = Run(
    run_id=UUID("7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10"),
    tenant="acme",
    target=Target.GENERATOR,
    wanted="",
    query=train_query(DatasetQuery(limit=7)),
    base=Base(),
    recipe=Recipe(),
    seed=2**63,
    causes=(Cause.DRIFT, Cause.STEWARD),
    because=("alert a", "document handbook/joins.md"),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    by=BY_ITSELF,
    created_at=NOW,
    state=State.DONE,
    snapshot=Snapshot("d" * 64, Tier.TIER_1, (), 400, 90, 23),
    made=Made("m", "file:///m", base=Base("tiny", "ff")),
    model="acme-generator@0123456789abcdef",
    ended_at=NOW,
    curve=tuple(Point(step, 1.0) for step in range(1, 700)),
)


def fields_of(caught: pytest.ExceptionInfo[Rejected]) -> set[str]:
    return {violation.field for violation in caught.value.violations}


def test_everything_that_is_wrong_with_a_wish_is_said_at_once() -> None:
    wrong = service_pb2.StartTrainingRequest(
        tenant="No!",
        target=9,  # type: ignore[arg-type]
        cause=training_pb2.CAUSE_DRIFT,
        dataset="../etc",
        query=DatasetQuery(purpose=PURPOSE_SHARE, without_subjects=["ada"]),
        recipe=training_pb2.Recipe(method=9, epochs=-1, rank=5_000),  # type: ignore[arg-type]
        base="../secret",
        because=["ada said so"],
    )
    with pytest.raises(Rejected) as caught:
        read_wish(wrong)
    assert fields_of(caught) == {
        "tenant",
        "target",
        "cause",
        "dataset",
        "query",
        "query.purpose",
        "query.without_subjects",
        "recipe.method",
        "recipe.epochs",
        "recipe.rank",
        "base",
        "because",
    }
    assert "ada" not in str(caught.value)


def test_what_nobody_says_is_left_to_the_rules() -> None:
    wish = read_wish(service_pb2.StartTrainingRequest(tenant="acme"))
    assert (wish.target, wish.cause, wish.query, wish.recipe) == (Target.GENERATOR, Cause.PERSON, None, None)


def test_documents_are_learned_from_where_they_are_named() -> None:
    recipe = training_pb2.Recipe(method=training_pb2.METHOD_CONTINUED_PRETRAINING)
    request = service_pb2.StartTrainingRequest(tenant="acme", recipe=recipe, query=DatasetQuery())
    with pytest.raises(Rejected) as caught:
        read_wish(request)
    assert fields_of(caught) == {"query.document_sources"}
    request.query.document_sources.append("handbook")
    wish = read_wish(request)
    assert wish.query is not None
    assert DatasetQuery.FromString(wish.query).purpose == PURPOSE_TRAIN


@pytest.mark.parametrize("method", list(Method))
def test_a_recipe_has_the_workers_own_numbers_where_nobody_says_others(method: Method) -> None:
    recipe = recipe_of(training_pb2.Recipe(method=training_pb2.Method.ValueType(int(method))))
    own = job.DEFAULTS[method.name.lower()]  # type: ignore[index]
    assert (recipe.epochs, recipe.context, recipe.learning_rate) == (own.epochs, own.context, own.learning_rate)
    assert Recipe() == recipe_of(training_pb2.Recipe())


def test_an_embedder_learns_in_one_way_from_questions() -> None:
    request = service_pb2.StartTrainingRequest(tenant="acme", target=training_pb2.TARGET_EMBEDDER)
    request.recipe.epochs = 1.5
    recipe = read_wish(request).recipe
    own = job.defaults(job.Recipe("full"), "embedder")
    assert recipe is not None
    assert (recipe.method, recipe.epochs) == (Method.FULL, 1.5)
    assert (recipe.learning_rate, recipe.tokens_a_step) == (own.learning_rate, own.tokens_a_step)
    request.recipe.method = training_pb2.METHOD_LORA
    request.query.document_sources.append("handbook")
    with pytest.raises(Rejected) as caught:
        read_wish(request)
    assert fields_of(caught) == {"recipe.method", "query.document_sources"}


def test_rules_come_back_as_they_were_stored() -> None:
    request = service_pb2.PutLoopRulesRequest(tenant="acme")
    request.rules.automatic = True
    request.rules.query.approved_only = True
    request.rules.canary_kinds.append("how-to")
    request.rules.recipe.rank = 8
    rules = replace(read_rules(request), version=3, changed_by="dora", changed_at=NOW)
    assert rules_of_json(rules_to_json(rules)) == rules
    assert (rules.debounce_seconds, rules.gate_cases, rules.recipe.rank) == (600, 100, 8)
    told = to_rules(rules)
    assert (told.query.approved_only, told.runs_a_day, told.canary_share) == (True, 4, 0.1)
    assert to_rules(Rules()).debounce_seconds == 600


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("canary_share", 0.6),
        ("canary_share", float("nan")),
        ("schedule_seconds", 5),
        ("must_pass", "No!"),
        ("targets", [9]),
        ("champion_variant", "a b"),
        ("base", "../secret"),
        ("gate_cases", 100_000),
    ],
)
def test_rules_out_of_range_are_named(field: str, value: Any) -> None:
    with pytest.raises(Rejected) as caught:
        read_rules(service_pb2.PutLoopRulesRequest(tenant="acme", rules=service_pb2.LoopRules(**{field: value})))
    assert fields_of(caught) == {f"rules.{field}"}


def test_rules_name_nobody() -> None:
    request = service_pb2.PutLoopRulesRequest(tenant="acme")
    request.rules.query.without_subjects.append("ada")
    with pytest.raises(Rejected) as caught:
        read_rules(request)
    assert fields_of(caught) == {"rules.query.without_subjects"}
    with pytest.raises(Rejected):
        read_rules(service_pb2.PutLoopRulesRequest(tenant="acme"))


def test_a_run_is_told_with_the_end_of_its_curve() -> None:
    told = to_run(RUN)
    assert (told.run_id, told.state, told.seed) == (str(RUN.run_id), training_pb2.RUN_STATE_DONE, 2**63)
    assert list(told.causes) == [training_pb2.CAUSE_DRIFT, training_pb2.CAUSE_STEWARD]
    assert (told.trace_id, told.base.name, told.created_by) == (
        "0af7651916cd43dd8448eb211c80319c",
        "tiny",
        "service:trainer",
    )
    assert (told.rows, told.held_out_rows, told.without_grant) == (400, 90, 23)
    assert [point.step for point in told.curve] == list(range(200, 700))
    assert told.query.limit == 7
    assert not to_run(replace(RUN, wanted="d" * 64)).HasField("query")


def test_a_runs_end_is_one_event_however_often_it_is_told() -> None:
    first, again = ended_event(RUN), ended_event(RUN)
    assert first.event_id == again.event_id
    assert (first.key, first.tenant, first.tier) == (str(RUN.run_id), "acme", Tier.TIER_1)
    assert first.message.model == RUN.model


def test_which_run_is_meant() -> None:
    run_id = uuid4()
    assert read_run_id("acme", str(run_id)) == run_id
    with pytest.raises(NotFound):
        read_run_id("acme", "nobody")
    with pytest.raises(Rejected):
        read_run_id("acme", "")


def test_a_pause_says_whose_and_why() -> None:
    pause = read_pause(service_pb2.PauseLoopRequest(reason="too loud"), by="sam", at=NOW)
    assert (pause.everybody, pause.because) == (True, "too loud")
    with pytest.raises(Rejected) as caught:
        read_pause(service_pb2.PauseLoopRequest(tenant="No!", reason="x" * 501), by="sam", at=NOW)
    assert fields_of(caught) == {"tenant", "reason"}


def test_which_snapshot_has_ended_and_why() -> None:
    message = DatasetEnded(tenant="acme", dataset_id="d" * 64, state=DATASET_STATE_GRANT_ENDED, ended_by="grant g")
    ended = read_ended(message, received_at=NOW)
    assert (ended.erased, ended.by, ended.ended_at) == (False, "grant g", NOW)
    with pytest.raises(Rejected):
        read_ended(DatasetEnded(tenant="acme"), received_at=NOW)


def test_the_workers_reasons_are_among_the_words() -> None:
    assert set(get_args(Reason)) <= set(WORDS)
