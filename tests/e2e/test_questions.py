"""Asking as users do: over gRPC, over the bus, again, after a lost connection, and what the sources can't answer."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.query.v1 import answer_pb2
from headrace.query.v1.answer_pb2 import Answer, AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace_client import Client
from headrace_client.errors import NotFound
from headrace_client.signing import FILE, read_signer
from headrace_identity.signatures import SIGNATURE, About

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

ANSWERABLE = [
    "What does the nonlocal statement do?",
    "What does the pass statement do?",
    "What happens when an assert statement fails?",
    "What is a lambda expression?",
]
UNANSWERABLE = [
    "How long should I boil an egg?",
    "Who won the football world cup in 1998?",
    "What is the capital of Australia?",
    "How do I prune an apple tree?",
]


async def ask(client: Client, text: str, **details: Any) -> Answer:
    return await client.answer(text, tenant="demo", product="docs-search", **details)


async def test_what_the_sources_say_is_answered_with_citations_that_resolve(client: Client) -> None:
    answers = await asyncio.gather(*(ask(client, question) for question in ANSWERABLE))
    for answer in answers:
        assert answer.grounding in (answer_pb2.GROUNDING_GROUNDED, answer_pb2.GROUNDING_EXTRACTED)
        assert answer.citations
        assert all(f"[{citation.number}]" in answer.text for citation in answer.citations)
        assert all(citation.chunk.source == "python-reference" for citation in answer.citations)


async def test_what_the_sources_do_not_say_is_never_passed_off_as_grounded(client: Client) -> None:
    answers = await asyncio.gather(*(ask(client, question) for question in UNANSWERABLE))
    assert [answer.grounding for answer in answers] == [answer_pb2.GROUNDING_NOT_IN_SOURCES] * len(UNANSWERABLE)
    assert not any(answer.citations for answer in answers)


async def test_the_same_id_twice_is_one_answer(client: Client) -> None:
    query_id = str(uuid.uuid4())
    first, second = await asyncio.gather(
        ask(client, ANSWERABLE[0], query_id=query_id), ask(client, ANSWERABLE[0], query_id=query_id)
    )
    assert first == second
    interaction = await until_stored(client, query_id)
    assert interaction.query.query_id == query_id


async def until_stored(client: Client, query_id: str) -> AnswerCompleted:
    for _ in range(50):
        try:
            return (await client.interaction(tenant="demo", query_id=query_id)).interaction
        except NotFound:
            await asyncio.sleep(0.1)
    raise AssertionError("the interaction was not stored")


async def test_another_tenant_does_not_learn_that_a_query_exists(client: Client) -> None:
    query_id = str(uuid.uuid4())
    await ask(client, ANSWERABLE[1], query_id=query_id)
    with pytest.raises(NotFound):
        await client.get(query_id, tenant="other")
    with pytest.raises(NotFound):
        await client.interaction(tenant="other", query_id=query_id)


async def test_a_product_asks_and_reads_over_the_bus(client: Client, stack: Any) -> None:
    as_protobuf, as_json, bad = (str(uuid.uuid4()) for _ in range(3))
    fields = {"tenant": "demo", "product": "docs-search", "text": ANSWERABLE[0]}
    records = [
        (as_protobuf, QuerySubmitted(query_id=as_protobuf, **fields).SerializeToString(), "application/protobuf"),
        (bad, json.dumps({"queryId": bad, "tenant": "demo", "product": "x", "text": ""}).encode(), "application/json"),
        (as_json, json.dumps({"queryId": as_json, **fields}).encode(), "application/json"),
    ]
    kafka = stack.endpoints.bus()
    consumer = AIOKafkaConsumer(
        "answer.completed", "query.refused", bootstrap_servers=kafka, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await consumer.start()
    await producer.start()
    signer = read_signer(Path(stack.endpoints.keys) / FILE)
    for key, value, content_type in records:
        whose = About("query.submitted", "demo", "x" if key == bad else "docs-search", "")
        headers = {"content-type": content_type, SIGNATURE: signer.sign(value, whose, now=time.time())}
        encoded = [(name, text.encode()) for name, text in headers.items()]
        await producer.send_and_wait("query.submitted", value, key=key.encode(), headers=encoded)
    seen: dict[str, bytes] = {}
    async with asyncio.timeout(120):
        while not {as_protobuf, as_json, bad} <= seen.keys():
            record = await consumer.getone()
            seen[record.key.decode()] = record.value
    await consumer.stop()
    await producer.stop()
    assert AnswerCompleted.FromString(seen[as_protobuf]).citations
    assert AnswerCompleted.FromString(seen[as_json]).citations
    assert violations(seen[bad]) == {"text": "missing"}


def violations(value: bytes) -> Mapping[str, str]:
    return {violation.field: violation.reason for violation in QueryRefused.FromString(value).violations}


async def test_a_secret_is_masked_and_personal_data_makes_it_tier_2(client: Client) -> None:
    query_id = str(uuid.uuid4())
    key = "AKIA" + "Q3EGTI5XJ7QLPM2B"
    text = f"What does the pass statement do? I am erika.mustermann@firma-beispiel.de and my key is {key}"
    answer = await ask(client, text, query_id=query_id)
    interaction = await until_stored(client, query_id)
    assert answer.tier == 3  # TIER_2
    assert key not in interaction.question.plain
    assert "[secret:" in interaction.question.plain


async def test_feedback_finds_its_interaction_before_and_after_the_answer(client: Client) -> None:
    query_id = str(uuid.uuid4())
    early = await client.record_feedback(FeedbackSubmitted(tenant="demo", query_id=query_id, rating=4))
    await ask(client, ANSWERABLE[2], query_id=query_id)
    await until_stored(client, query_id)
    late = await client.record_feedback(
        FeedbackSubmitted(tenant="demo", query_id=query_id, comment="Just what I needed.")
    )
    stored = await client.interaction(tenant="demo", query_id=query_id)
    assert (early.joined, late.joined) == (False, True)
    assert {feedback.WhichOneof("judgement") for feedback in stored.feedback} == {"rating", "comment"}
