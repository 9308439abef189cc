"""The verbs of the bus, on a real Kafka."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.feedback.v1.service_pb2 import TalliedInteraction
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryAccepted, QueryRefused, QuerySubmitted
from headrace.query.v1.query_pb2 import FieldViolation, Query
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_client import Publisher
from headrace_client.bus import Record, open_producer, open_reader, send
from headrace_client.cli.app import build_app
from headrace_client.cli.dlq import REPLAY_HEADER
from typer.testing import CliRunner

pytestmark = pytest.mark.real

TENANT = "demo"


async def command(*arguments: str, where: str, stdin: str = "") -> tuple[int, str, str]:
    ran = await asyncio.to_thread(
        CliRunner().invoke, build_app(), list(arguments), env={"HEADRACE_ENDPOINTS": where}, input=stdin
    )
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    return ran.exit_code, ran.stdout, ran.stderr


async def put(
    kafka: str, topic: str, message: Message | bytes, *, event_id: str = "", key: str = "k"
) -> tuple[int, int]:
    value = message if isinstance(message, bytes) else message.SerializeToString()
    async with open_producer(kafka) as producer:
        headers = [("ce_id", event_id.encode()), ("ce_tenant", TENANT.encode())]
        return await send(producer, topic, key=b"k", value=value, headers=headers)


async def held(kafka: str, topic: str) -> list[Record]:
    async with open_reader(kafka) as reader:
        return [record async for record in reader.until_now([topic])]


async def test_a_published_question_is_on_the_bus(fresh_kafka: str) -> None:
    query = QuerySubmitted(query_id=str(uuid4()), tenant=TENANT, product="tests", text="What?")
    async with Publisher.connect(fresh_kafka, product="tests") as publisher:
        receipt = await publisher.query(query)
    [record] = await held(fresh_kafka, "query.submitted")
    assert (record.partition, record.offset) == (receipt.partition, receipt.offset)
    assert QuerySubmitted.FromString(record.value or b"") == query
    assert record.header("ce_type") == "headrace.query.v1.QuerySubmitted"


async def test_lines_of_standard_input_are_published(fresh_kafka: str) -> None:
    options = ("--format", "json", "--json")
    code, out, _ = await command("publish", *options, where=f"kafka={fresh_kafka}", stdin="One?\n\nTwo?\n")
    assert code == 0
    told = {line["query_id"]: line for line in map(json.loads, out.splitlines())}
    records = await held(fresh_kafka, "query.submitted")
    assert {json.loads(record.value or b"")["text"] for record in records} == {"One?", "Two?"}
    assert {json.loads(record.value or b"")["queryId"] for record in records} == set(told)


@pytest.mark.parametrize(
    ("topic", "code", "words"),
    [
        ("answer.completed", 0, "It rebinds."),
        ("query.refused", 2, "text: The question is empty."),
        ("query.embedded.dlq", 1, "headrace dlq list --topic query.embedded"),
    ],
)
async def test_publish_waits_for_the_ending(fresh_kafka: str, topic: str, code: int, words: str) -> None:
    query_id = str(uuid4())
    endings: dict[str, Message] = {
        "answer.completed": AnswerCompleted(query=Query(query_id=query_id), text=ProtectedText(plain="It rebinds.")),
        "query.refused": QueryRefused(
            query_id=query_id, violations=[FieldViolation(field="text", description="The question is empty.")]
        ),
        "query.embedded.dlq": DeadLetter(service="retriever", topic="query.embedded", correlation_id=query_id),
    }
    options = ("--query-id", query_id, "--wait", "--timeout", "20")
    waiting = asyncio.create_task(command("publish", "What?", *options, where=f"kafka={fresh_kafka}"))
    while not await held(fresh_kafka, "query.submitted"):
        await asyncio.sleep(0.05)
    await put(fresh_kafka, topic, endings[topic])
    ran = await waiting
    assert ran[0] == code
    assert words in ran[1] + ran[2]


async def test_publish_gives_up_waiting(fresh_kafka: str) -> None:
    ran = await command("publish", "What?", "--wait", "--timeout", "0.5", where=f"kafka={fresh_kafka}")
    assert ran[0] == 1
    assert "No answer" in ran[2]


async def fail(kafka: str, value: bytes = b"original") -> int:
    """A record that somebody could not handle; gives the offset of its dead letter."""
    partition, offset = await put(kafka, "query.accepted", value, event_id="event-1")
    letter = DeadLetter(
        service="classifier",
        topic="query.accepted",
        partition=partition,
        offset=offset,
        correlation_id="q-1",
        error="Rejected",
        reasons=["text: empty"],
        attempts=3,
        sha256=hashlib.sha256(b"original").hexdigest(),
        bytes=len(value),
        failed_at=Timestamp(seconds=1_800_000_000),
    )
    return (await put(kafka, "query.accepted.dlq", letter))[1]


async def test_dead_letters_are_listed_without_their_payload(fresh_kafka: str) -> None:
    where = f"kafka={fresh_kafka}"
    assert (await command("dlq", "list", where=where))[1] == "No dead letters.\n"
    offset = await fail(fresh_kafka)
    code, out, _ = await command("dlq", "list", "--topic", "query.accepted.dlq", "--json", where=where)
    [letter] = map(json.loads, out.splitlines())
    assert (code, letter["offset"], letter["error"], letter["reasons"]) == (0, offset, "Rejected", ["text: empty"])
    _, table, _ = await command("dlq", "list", where=where)
    assert "Rejected: text: empty" in table
    assert "original" not in table + out.replace('"original":', "")


async def test_a_dead_letter_is_shown_and_replayed_with_its_headers(fresh_kafka: str) -> None:
    where = f"kafka={fresh_kafka}"
    offset = await fail(fresh_kafka)
    code, out, _ = await command("dlq", "show", "query.accepted", str(offset), where=where)
    assert (code, f"headrace dlq replay query.accepted {offset}" in out) == (0, True)
    code, out, _ = await command("dlq", "replay", "query.accepted", str(offset), where=where)
    assert (code, out) == (0, f"Replayed {offset}: q-1 to query.accepted.\n")
    assert (await command("dlq", "replay", "query.accepted", "--all", where=where))[0] == 0
    original, *again = await held(fresh_kafka, "query.accepted")
    assert [(r.key, r.value, r.partition, r.header("ce_id")) for r in again] == [
        (original.key, original.value, original.partition, "event-1")
    ] * 2
    assert len({record.header(REPLAY_HEADER) for record in (original, *again)}) == 3


async def test_what_is_not_the_same_event_any_more_is_not_replayed(fresh_kafka: str) -> None:
    offset = await fail(fresh_kafka, b"another")
    code, _, err = await command("dlq", "replay", "query.accepted", str(offset), where=f"kafka={fresh_kafka}")
    assert code == 1
    assert "another event" in err
    assert len(await held(fresh_kafka, "query.accepted")) == 1


async def test_what_retention_removed_is_not_replayed(fresh_kafka: str) -> None:
    gone = DeadLetter(topic="query.accepted", partition=7, offset=123_456)
    _, offset = await put(fresh_kafka, "query.accepted.dlq", gone)
    code, _, err = await command("dlq", "replay", "query.accepted", str(offset), where=f"kafka={fresh_kafka}")
    assert code == 1
    assert "retention has ended" in err


async def test_a_dead_letter_that_is_not_there(fresh_kafka: str) -> None:
    for verb in ("show", "replay"):
        code, _, err = await command("dlq", verb, "query.accepted", "99999", where=f"kafka={fresh_kafka}")
        assert code == 1
        assert "no dead letter at 99999" in err


async def test_reconcile_on_the_bus_and_the_books(fresh_kafka: str, headrace: Any) -> None:
    old = Timestamp()
    old.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
    for query_id in ("good", "lost", "twice"):
        query = Query(query_id=query_id, tenant=TENANT, accepted_at=old)
        await put(fresh_kafka, "query.accepted", QueryAccepted(query=query), event_id=f"accepted-{query_id}")
    for query_id, event_id in (("good", "g"), ("good", "g"), ("twice", "t1"), ("twice", "t2")):
        answer = AnswerCompleted(query=Query(query_id=query_id, tenant=TENANT), completed_at=old)
        await put(fresh_kafka, "answer.completed", answer, event_id=event_id)
    state = {
        "good": queries.QUERY_STATE_ANSWERED,
        "lost": queries.QUERY_STATE_OPEN,
        "twice": queries.QUERY_STATE_ANSWERED,
    }
    first = {"good": "g", "lost": "", "twice": "t1"}
    headrace.queries.tallied = [
        queries.TalliedQuery(tenant=TENANT, query_id=q, state=s, answer_event_id=first[q], accepted_at=old)
        for q, s in state.items()
    ]
    headrace.feedback.tallied = [
        TalliedInteraction(tenant=TENANT, query_id=q, answer_event_id=first[q]) for q in ("good", "twice")
    ]
    where = f"kafka={fresh_kafka},{headrace.variable}"
    code, out, _ = await command("reconcile", "--json", where=where)
    report = json.loads(out)
    assert (code, report["agrees"], report["counts"]["accepted"]) == (1, False, 3)
    assert {(v["kind"], v["query_id"]) for v in report["violations"]} == {
        ("stuck", "lost"),
        ("answered twice", "twice"),
    }
    code, out, _ = await command("reconcile", where=where)
    assert (code, "The books do not agree about 2 queries." in out) == (1, True)
    code, out, _ = await command("reconcile", "--tenant", "nobody", where=where)
    assert code == 1  # the fake books don't filter by tenant, so their queries are missing on nobody's bus


def test_the_replay_header_is_the_one_that_the_services_read() -> None:
    from headrace_stream import envelope

    assert envelope.REPLAY_HEADER == REPLAY_HEADER
    assert topics.QUERY_ACCEPTED.dead_letters.name == "query.accepted.dlq"
