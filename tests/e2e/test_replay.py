"""Logged questions again, on the whole of Headrace: measured, compared, and seen by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from os import environ
from typing import Any
from uuid import uuid4

import pytest
from headrace.feedback.v1 import runs_pb2
from headrace.feedback.v1.datasets_pb2 import SPLIT_TEST, SPLIT_TRAIN, Dataset, DatasetRow, ImportDatasetRequest
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub
from headrace.feedback.v1.reports_pb2 import Side
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TRIAL_SETTING_CLOSED_BOOK, TRIAL_SETTING_UNSPECIFIED, TRIAL_SETTING_ZERO_SHOT
from headrace_client import Client
from headrace_client.bookkeeping import gather_facts
from headrace_client.bus import open_reader
from headrace_client.cli.runs_words import side_of
from headrace_client.credentials import find_credentials
from headrace_client.errors import NotFound
from headrace_client.reconciling import reconcile

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(600)]

#: Of a tenant that no other test asks in.
PRODUCT = f"replay-{uuid4().hex[:8]}"
QUESTIONS = ("What does the nonlocal statement do?", "What does the pass statement do?", "What is a lambda expression?")


@pytest.fixture(scope="module")
async def asked(client: Client) -> list[str]:
    """Questions that were answered and logged; the queries' ids."""
    ids = [str(uuid4()) for _ in QUESTIONS]
    for query_id, question in zip(ids, QUESTIONS, strict=True):
        await client.answer(question, tenant="demo", product=PRODUCT, query_id=query_id, declared_tier=1)
    async with asyncio.timeout(30):
        while not all([await is_logged(client, query_id) for query_id in ids]):
            await asyncio.sleep(0.2)
    return ids


async def is_logged(client: Client, query_id: str) -> bool:
    try:
        await client.interaction(tenant="demo", query_id=query_id)
    except NotFound:
        return False
    return True


def replay(ids: list[str], *settings: Any) -> runs_pb2.StartRunRequest:
    return runs_pb2.StartRunRequest(
        tenant="demo",
        queries=runs_pb2.QueryFilter(query_ids=ids),
        arms=[runs_pb2.RunArm(variant=Versioned(name="default"), setting=setting) for setting in settings],
        seed=1,
    )


async def ended(client: Client, begun: runs_pb2.Run) -> runs_pb2.Run:
    return [run async for run in client.follow_run(begun.run_id, tenant=begun.tenant, timeout=300)][-1]


async def test_a_replay_ends_and_nobody_sees_it(client: Client, stack: Any, asked: list[str]) -> None:
    settings = (TRIAL_SETTING_UNSPECIFIED, TRIAL_SETTING_ZERO_SHOT, TRIAL_SETTING_CLOSED_BOOK)
    run = await ended(client, await client.start_run(replay(asked, *settings)))
    assert (run.state, run.cases, run.total) == (runs_pb2.RUN_STATE_DONE, 3, 9)
    assert (run.answered, run.failed) == (9, 0)
    async with asyncio.timeout(120):
        while (run := await client.get_run(run.run_id, tenant="demo")).evaluated < run.answered:
            await asyncio.sleep(0.5)
    own = find_credentials(environ, stack.endpoints, role="developer")
    async with Client.connect(stack.endpoints, credentials=own) as developer:
        compared = await developer.compare_run(run, Side(), side_of(run.arms[0]))
    lines = {line.measure: line for line in compared}
    assert lines["latency"].a.answers == lines["latency"].b.answers == 3
    assert {"grounded", "refused", "cost"} <= lines.keys()
    async with open_reader(stack.endpoints.bus()) as reader:
        facts = await gather_facts(reader, client, tenant="demo")
    report = reconcile(facts, grace=timedelta(0), now=datetime.now(UTC))
    assert report.agrees, report.violations
    known = {tallied.key.query_id for tallied in facts.tally}
    assert set(asked) <= known
    assert len([one for one in facts.logged if one.key.query_id in asked]) == 3, "what was logged stays as it was"
    assert {one.key.query_id for one in facts.logged} <= known


async def test_a_deleted_document_makes_answers_stale_and_they_can_be_asked_again(
    client: Client, asked: list[str], put_topics: Callable[[Client], Awaitable[None]]
) -> None:
    await client.delete_document(tenant="demo", source="python-reference", document_id="lambda")
    try:
        async with asyncio.timeout(60):
            while asked[2] not in (found := await stale_of(client)):
                await asyncio.sleep(0.2)
        assert found[asked[2]] == {("lambda", True)}
        request = replay([], TRIAL_SETTING_UNSPECIFIED)
        request.queries.stale_only, request.queries.product = True, PRODUCT
        run = await ended(client, await client.start_run(request))
        assert run.state == runs_pb2.RUN_STATE_DONE
        assert 1 <= run.answered == run.cases <= len(asked)
    finally:
        await put_topics(client)


@pytest.mark.long
async def test_a_dataset_is_asked_of_a_variant_with_and_without_passages(stack: Any, client: Client) -> None:
    assert client, "the documents are there"
    own = find_credentials(environ, stack.endpoints, role="developer")
    async with Client.connect(stack.endpoints, credentials=own) as developer:
        snapshot = await imported(developer)
        settings = (TRIAL_SETTING_CLOSED_BOOK, TRIAL_SETTING_UNSPECIFIED)
        request = replay([], *settings)
        request.dataset_id = snapshot.name
        run = await ended(developer, await developer.start_run(request))
        assert (run.state, run.dataset_id, run.cases) == (runs_pb2.RUN_STATE_DONE, snapshot.dataset_id, 2)
        assert (run.answered, run.failed) == (4, 0)
        async with asyncio.timeout(120):
            while (run := await developer.get_run(run.run_id, tenant="demo")).evaluated < run.answered:
                await asyncio.sleep(0.5)
        compared = await developer.compare_run(run, *map(side_of, run.arms))
    assert {"key_facts", "latency"} <= {line.measure for line in compared if line.b.answers == 2}


async def imported(developer: Client) -> Dataset:
    """Two rows with known answers, held out, and one to learn from."""
    facts = {"What does the nonlocal statement do?": "enclosing", "What does the pass statement do?": "null|nothing"}
    rows = [
        DatasetRow(question=question, answer=f"See {fact}.", key_facts=[fact], split=SPLIT_TEST)
        for question, fact in facts.items()
    ]
    rows.append(DatasetRow(question="What is a lambda expression?", answer="A function.", split=SPLIT_TRAIN))
    callee = developer._channels.callee("feedback", "headrace.feedback.v1.DatasetService")
    # Rows are classified as words of the product that the series is named after, and the policy knows this one.
    request = ImportDatasetRequest(tenant="demo", name="docs-search", rows=rows, declared_tier=1)
    stub = DatasetServiceStub(callee.channel)
    response = await callee.unary(stub.ImportDataset, request, name="ImportDataset", timeout=60)
    return response.dataset


async def stale_of(client: Client) -> dict[str, set[tuple[str, bool]]]:
    """Of each stale answer the documents that changed, and whether they are gone."""
    response = await client.stale_answers(tenant="demo", source="python-reference")
    return {
        answer.query_id: {(one.document_id, one.deleted) for one in answer.documents} for answer in response.answers
    }
