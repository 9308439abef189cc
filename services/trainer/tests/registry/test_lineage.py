"""Following what things were made of, both ways; the card; and what an erasure is told."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureRequested, ErasureScope, ErasureVerifying
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound
from headrace_stream.memory import delivered
from headrace_trainer.registry.cards import card
from headrace_trainer.registry.erasing import ErasureConsumers
from headrace_trainer.registry.lineage import Graph
from headrace_trainer.registry.ports import Traced, TracedDataset
from headrace_trainer.registry.servicer import to_lineage
from headrace_trainer.registry.tracing import Tracer
from headrace_trainer.running.runs import State

from services.trainer.tests.registry.house import House

DATASET = TracedDataset("d1", "support", "usable", 2, ("q1", "q2"), ("g1",), Tier.TIER_1)
SOMEBODY = "somebody-who-is-named-nowhere"


def shape(graph: Graph) -> set[tuple[str, str]]:
    """Which kind was made of which."""
    return {(graph.nodes[of].kind, graph.nodes[made].kind) for of, made in graph.edges}


async def live_and_traced(home: House) -> tuple[str, Tracer]:
    """A live model with answers, and what the feedback logger knows of its rows."""
    name = await home.live()
    version = name.partition("@")[2]
    home.rows.traced = {
        ("dataset", "d1"): Traced([replace(DATASET, rows=100)], documents=["docs/a", "docs/b"]),
        ("subject", SOMEBODY): Traced([DATASET], answers=3, query_ids=["q1", "q2", "q3"]),
        ("source", "docs"): Traced([DATASET], answers=7),
        ("query_id", "q1"): Traced([replace(DATASET, rows=1, row_ids=("q1",))], documents=["docs/a"]),
        ("model_version", version): Traced(answers=12, query_ids=["q9", "q1"]),
    }
    return name, Tracer(home.shelf, home.rows)


async def test_from_a_model_down_to_documents_and_up_to_answers(home: House) -> None:
    name, tracer = await live_and_traced(home)
    graph = await tracer.trace(home.tenant, "model", "live")
    assert shape(graph) == {
        ("source", "document"),
        ("document", "dataset"),
        ("rows", "dataset"),
        ("grant", "dataset"),
        ("dataset", "run"),
        ("run", "model"),
        ("model", "variant"),
        ("variant", "answers"),
    }
    by_kind = {node.kind: node for node in graph.nodes}
    assert (by_kind["model"].id, by_kind["model"].state) == (name, "live")
    assert (by_kind["rows"].count, by_kind["answers"].count) == (100, 12)


@pytest.mark.parametrize(("what", "value"), [("subject", SOMEBODY), ("source", "docs")])
async def test_from_rows_up_to_the_models_that_learned_from_them(home: House, what: str, value: str) -> None:
    name, tracer = await live_and_traced(home)
    graph = await tracer.trace(home.tenant, what, value)
    assert {("rows", "dataset"), ("dataset", "run"), ("run", "model"), ("variant", "answers")} <= shape(graph)
    assert name in {node.id for node in graph.nodes if node.kind == "model"}
    assert SOMEBODY not in str(to_lineage(graph)), "an end user is told by what is theirs, never by name"


async def test_from_an_answer_both_ways(home: House) -> None:
    """It was made by a model of documents, and it is a row of what another learned from."""
    _, tracer = await live_and_traced(home)
    graph = await tracer.trace(home.tenant, "query_id", "q1")
    assert {("model", "answers"), ("document", "answers"), ("answers", "rows"), ("rows", "dataset")} <= shape(graph)


async def test_what_there_is_none_of(home: House) -> None:
    tracer = Tracer(home.shelf, home.rows)
    with pytest.raises(NotFound):
        await tracer.trace(home.tenant, "model", "0123456789")
    with pytest.raises(NotFound):
        await tracer.trace(home.tenant, "dataset", "d9")
    assert not (await tracer.trace(home.tenant, "subject", "nobody")).edges


async def test_the_card_says_what_is_known(home: House) -> None:
    name = await home.live()
    model = await home.get(name)
    told = card(model, home.loop.runs[0])
    for words in (
        f"# {name}",
        "It answers.",
        "always trained from the base",
        "Loss on held-out rows: 1.200 nats a token; 1.900 of the base.",
        "**Passed** against default 1",
        "Begun by: drift (alert 1).",
        "## How its canary did",
        "greedy writing gives away 0",
    ):
        assert words in told
    assert "waits for the gate" in card(replace(model, gate=None, state=type(model.state).CANDIDATE), None)


def scope(home: House) -> ErasureScope:
    """Whose."""
    return ErasureScope(tenant=home.tenant, subject=SOMEBODY)


async def test_an_erasure_is_told_the_models_that_it_reached_though_the_event_is_late(home: House) -> None:
    """The seeded bug: to answer from what dataset.ended has said so far, which may be nothing."""
    name = await home.live()
    erasure_id = str(uuid4())
    home.rows.ended[f"erasure {erasure_id}"] = ["d1"]
    consumers = ErasureConsumers(home.shelf, home.rows, home.loop, home.office)
    requested = ErasureRequested(erasure_id=erasure_id, scope=scope(home), round=1)
    await consumers.on_requested(
        delivered(requested, topics.ERASURE_REQUESTED, service="trainer", event_id=uuid4(), key=erasure_id)
    )
    verifying = ErasureVerifying(erasure_id=erasure_id, scope=scope(home), round=1)
    delivery = delivered(verifying, topics.ERASURE_VERIFYING, service="trainer", event_id=uuid4(), key=erasure_id)
    await consumers.on_verifying(delivery)
    await consumers.on_verifying(delivery)
    said = [event.message for event in home.ledger.published if event.topic.name == "erasure.verified"]
    assert len(said) == 1
    assert {report.records for report in said[0].stores} == {0}
    assert [(one.model, one.dataset_id, one.HasField("retired_at")) for one in said[0].models] == [(name, "d1", False)]
    assert (await home.get(name)).is_condemned
    assert SOMEBODY not in str(said[0])


async def test_an_erasure_goes_into_another_round_while_a_run_still_learns_from_it(home: House) -> None:
    run = home.run()
    home.loop.runs = [replace(run, state=State.TRAINING)]
    erasure_id = str(uuid4())
    home.rows.ended[f"erasure {erasure_id}"] = ["d1"]
    consumers = ErasureConsumers(home.shelf, home.rows, home.loop, home.office)
    verifying = ErasureVerifying(erasure_id=erasure_id, scope=scope(home), round=1)
    await consumers.on_verifying(
        delivered(verifying, topics.ERASURE_VERIFYING, service="trainer", event_id=uuid4(), key=erasure_id)
    )
    said = [event.message for event in home.ledger.published if event.topic.name == "erasure.verified"]
    assert sum(report.records for report in said[0].stores) == 1
