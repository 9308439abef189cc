"""One query is one trace: every hop hangs off the one before it, over Kafka too, and links to what it was made from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from headrace.trace.v1.service_pb2 import Span
from headrace_client import Client

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

#: (service, span) → (service, span) whose parent it must be. "*" stands for a model's or a source's name.
EDGES = [
    (("ingest", "headrace.query.v1.QueryService/Ask"), ("ingest", "send query.submitted")),
    (("ingest", "send query.submitted"), ("ingest", "process query.submitted")),
    (("ingest", "process query.submitted"), ("ingest", "send query.accepted")),
    (("ingest", "send query.accepted"), ("classifier", "process query.accepted")),
    (("classifier", "process query.accepted"), ("classifier", "send query.classified")),
    (("classifier", "send query.classified"), ("embedder", "process query.classified")),
    (("embedder", "process query.classified"), ("embedder", "embeddings *")),
    (("embedder", "process query.classified"), ("embedder", "send query.embedded")),
    (("embedder", "send query.embedded"), ("retriever", "process query.embedded")),
    (("retriever", "process query.embedded"), ("retriever", "retrieval *")),
    (("retriever", "retrieval *"), ("retriever", "SELECT *")),
    (("retriever", "process query.embedded"), ("retriever", "send query.retrieved")),
    (("retriever", "send query.retrieved"), ("inference", "process query.retrieved")),
    (("inference", "process query.retrieved"), ("inference", "chat *")),
    (("inference", "process query.retrieved"), ("inference", "send answer.completed")),
    (("inference", "send answer.completed"), ("ingest", "process answer.completed")),
    (("inference", "send answer.completed"), ("feedback", "process answer.completed")),
]

Name = tuple[str, str]


def is_named(span: Span, name: Name) -> bool:
    service, pattern = name
    matches = span.name.startswith(pattern[:-1]) if pattern.endswith("*") else span.name == pattern
    return bool(span.service == service and matches)


def missing_edges(spans: list[Span]) -> list[tuple[Name, Name]]:
    by_id = {span.span_id: span for span in spans}

    def has(parent: Name, child: Name) -> bool:
        return any(
            is_named(span, child) and span.parent_span_id in by_id and is_named(by_id[span.parent_span_id], parent)
            for span in spans
        )

    return [edge for edge in EDGES if not has(*edge)]


def unlinked(spans: list[Span]) -> list[str]:
    """Every `process` span must link to the span that sent its record."""
    return [span.name for span in spans if span.name.startswith("process ") and span.parent_span_id not in span.links]


async def trace_of(client: Client, query_id: str, *, until: Callable[[list[Span]], bool]) -> list[Span]:
    """Spans arrive in batches, half a second apart."""
    spans: list[Span] = []
    for _ in range(60):
        await asyncio.sleep(0.5)
        spans = await client.trace(query_id=query_id)
        if until(spans):
            break
    return spans


@pytest.fixture(scope="module")
async def spans(client: Client) -> list[Span]:
    query_id = ""
    async for update in client.ask("What does the nonlocal statement do?", tenant="demo", product="docs-search"):
        query_id = update.query_id
    return await trace_of(client, query_id, until=lambda found: not missing_edges(found))


async def test_every_hop_hangs_off_the_one_before(spans: list[Span]) -> None:
    assert missing_edges(spans) == []
    assert len({span.trace_id for span in spans}) == 1


async def test_every_hop_links_to_what_it_was_made_from(spans: list[Span]) -> None:
    assert unlinked(spans) == []


async def test_the_model_says_what_it_read_and_wrote(spans: list[Span]) -> None:
    (chat,) = [span for span in spans if span.name.startswith("chat ")]
    said: dict[str, Any] = dict(chat.attributes)
    assert int(said["gen_ai.usage.input_tokens"]) > 0
    assert int(said["gen_ai.usage.output_tokens"]) > 0
    assert float(said["gen_ai.response.time_to_first_chunk"]) > 0
    assert said["gen_ai.operation.name"] == "chat"


async def test_no_span_holds_the_question_or_the_answer(spans: list[Span]) -> None:
    written = " ".join(f"{span.name} {dict(span.attributes)}" for span in spans).lower()
    assert "nonlocal" not in written


async def test_the_check_finds_a_hop_that_hangs_off_the_wrong_one(spans: list[Span]) -> None:
    """What a flattened pipeline looks like: every hop hangs off the first."""
    first = next(span for span in spans if span.name == "send query.submitted")
    flat = [Span.FromString(span.SerializeToString()) for span in spans]
    for span in flat:
        if span.name == "process query.embedded":
            span.parent_span_id = first.span_id
    assert (("embedder", "send query.embedded"), ("retriever", "process query.embedded")) in missing_edges(flat)
