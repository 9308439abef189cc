from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from headrace.query.v1.service_pb2 import STAGE_GENERATING
from headrace_client import (
    Answered,
    Client,
    DeadLettered,
    Denied,
    Endpoints,
    Faulty,
    NotConfigured,
    NotFound,
    Overloaded,
    Progress,
    Refused,
    Text,
    TimedOut,
    Unavailable,
    Unreachable,
    Update,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
WHO = {"tenant": "demo", "product": "tests"}


async def everything(client: Client, **details: Any) -> list[Update]:
    return [u async for u in client.ask("What does nonlocal do?", query_id=QUERY, **WHO, **details)]


async def test_an_answer_comes_as_typed_updates(headrace: Any) -> None:
    async with Client.connect(headrace.endpoints) as client:
        updates = await everything(client)
    assert [type(u) for u in updates] == [Progress, Progress, Text, Text, Answered]
    assert isinstance(updates[1], Progress)
    assert (updates[1].stage, updates[1].passages) == (STAGE_GENERATING, 5)
    assert isinstance(updates[-1], Answered)
    assert updates[-1].answer.text == "It rebinds names of the enclosing scope [1]."
    assert {u.query_id for u in updates} == {QUERY}
    assert all(len(u.trace_id) == 32 for u in updates)


async def test_a_question_gets_an_id_that_survives_a_second_asking(headrace: Any) -> None:
    async with Client.connect(headrace.endpoints) as client:
        await client.answer("What?", **WHO)
    assert len(headrace.queries.asked[0].query_id) == 36


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_lost_connection_is_taken_up_where_it_broke(headrace: Any, cut: int) -> None:
    headrace.queries.cut = cut
    async with Client.connect(headrace.endpoints) as client:
        updates = await everything(client)
    assert [u.sequence for u in updates] == [1, 2, 3, 4, 5]
    assert headrace.queries.watched == [cut, cut]  # the first Watch found nobody either
    assert all(len(u.trace_id) == 32 for u in updates)


async def test_a_connection_lost_before_the_first_update_is_not_resumed(headrace: Any) -> None:
    headrace.queries.cut = 0
    async with Client.connect(headrace.endpoints) as client:
        with pytest.raises(Unreachable):
            await everything(client)
    assert headrace.queries.watched == []


async def test_resuming_ends_with_the_deadline(headrace: Any) -> None:
    headrace.queries.cut = 2
    async with Client.connect(headrace.endpoints) as client:
        with pytest.raises((Unreachable, TimedOut)):
            await everything(client, timeout=0.1)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.PERMISSION_DENIED, Denied),
        (grpc.StatusCode.ABORTED, DeadLettered),
        (grpc.StatusCode.INTERNAL, Faulty),
        (grpc.StatusCode.UNIMPLEMENTED, Faulty),
    ],
)
async def test_each_status_has_its_error(headrace: Any, code: grpc.StatusCode, expected: type[Exception]) -> None:
    headrace.queries.fault = (code, "kafka is away")
    async with Client.connect(headrace.endpoints) as client:
        with pytest.raises(expected):
            await everything(client)


async def test_a_refusal_names_each_field(headrace: Any) -> None:
    headrace.queries.fault = (grpc.StatusCode.INVALID_ARGUMENT, "2 fields are wrong")
    headrace.queries.violations = {"text": "The question is empty.", "tenant": "It is missing."}
    async with Client.connect(headrace.endpoints) as client:
        with pytest.raises(Refused) as caught:
            await everything(client)
    assert [(v.field, v.description) for v in caught.value.violations] == [
        ("text", "The question is empty."),
        ("tenant", "It is missing."),
    ]


async def test_nobody_there_names_the_address_and_the_mend(free_address: Callable[[], str]) -> None:
    address = free_address()
    async with Client.connect(Endpoints(services={"ingest": address})) as client:
        with pytest.raises(Unreachable, match=f"Nothing answers at {address}.*headrace up"):
            await client.get(QUERY, tenant="demo")


async def test_a_service_without_an_address_is_named() -> None:
    async with Client.connect(Endpoints()) as client:
        with pytest.raises(NotConfigured, match="retriever"):
            await client.search("x", tenant="demo")


async def test_pages_of_a_source_come_as_one(headrace: Any) -> None:
    async with Client.connect(headrace.endpoints) as client:
        found = [d.document.document_id async for d in client.source("notes", tenant="demo")]
    assert found == ["a.md", "b.md"]


async def test_the_callers_trace_goes_along(headrace: Any) -> None:
    tracer = TracerProvider().get_tracer("tests")
    span = tracer.start_span("product")
    with trace.use_span(span, end_on_exit=True):
        async with Client.connect(headrace.endpoints) as client:
            await everything(client)
    assert format(span.get_span_context().trace_id, "032x") in headrace.queries.metadata["traceparent"]


async def test_text_stays_out_of_what_is_printed_in_a_log() -> None:
    assert "secret" not in repr(Text(query_id=QUERY, trace_id="", sequence=1, text="secret"))
