"""The steps of the tour. Each tells what it does as it does it, and returns what the next ones need."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf.json_format import MessageToJson
from headrace import topics
from headrace.document.v1 import service_pb2 as documents
from headrace.feedback.v1.feedback_pb2 import THUMB_UP, FeedbackSubmitted
from headrace.privacy.v1.erasure_pb2 import Erasure, ErasureScope
from headrace.privacy.v1.privacy_pb2 import TIER_PUBLIC
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace_client.answers import answer_json
from headrace_client.bookkeeping import gather_facts
from headrace_client.bus import open_reader
from headrace_client.cli.ask import TerminalView
from headrace_client.cli.trace import fetch_trace, to_waterfall
from headrace_client.client import Client
from headrace_client.endpoints import Endpoints
from headrace_client.errors import Overloaded, Unavailable
from headrace_client.publisher import Encoding
from headrace_client.reconciling import Report, reconcile
from headrace_client.signing import FILE, read_signer, signed
from headrace_client.tiers import tier_word
from headrace_client.updates import Answered
from headrace_client.waterfall import waterfall
from headrace_identity.signatures import Signer

from headrace_embedded.demo import corpus
from headrace_embedded.demo.corpus import SOURCE, TENANT, Topic
from headrace_embedded.errors import NotReady

PRODUCT = "docs-search"

#: Documents on their way at once.
IN_FLIGHT = 8
ANSWER_S = 180.0
ERASURE_S = 120.0
WIDTH = 120

Say = Callable[[str], None]
Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the tour, why it is asked, and the end user who asks it, if anybody in particular does."""

    why: str
    text: str
    subject: str = ""


BY_EVENT = (
    Question("as protobuf", "What does the global statement do?"),
    Question("as JSON", "When is the else clause of a for loop executed?"),
)
BY_CALL = (
    Question("The sources know this", "What does the nonlocal statement do?"),
    Question("The sources don't know this", "Who won the football world cup in 1998?"),
    Question(
        "This one carries an e-mail address and a key: it becomes tier 2, is sealed, and the key is masked",
        "ada@analytical-engines.net, AKIAIOSFODNN7EXAMPLQ: what does the raise statement do?",
        subject="ada",
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what came of it."""

    text: str = field(repr=False)
    query_id: str
    trace_id: str
    tier: str
    grounding: str
    total_ms: float


async def put_documents(
    client: Client, reference: Sequence[Topic], advance: Advance, *, source: str = SOURCE
) -> Counter[str]:
    """Puts every topic into a source and counts what became of them: "indexed" or "unchanged", and "chunks"."""
    places = asyncio.Semaphore(IN_FLIGHT)
    outcomes: Counter[str] = Counter()

    async def put(topic: Topic) -> None:
        async with places:
            response = await _put(client, topic, source)
        outcomes[documents.Outcome.Name(response.outcome).removeprefix("OUTCOME_").lower()] += 1
        outcomes["chunks"] += response.chunks
        advance()

    # Not a task group: what goes wrong is to reach the command as it is, not in a group.
    await asyncio.gather(*(put(topic) for topic in reference))
    return outcomes


async def _put(client: Client, topic: Topic, source: str) -> documents.PutResponse:
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0):
        try:
            return await client.put_document(
                topic.markdown.encode(),
                tenant=TENANT,
                source=source,
                document_id=topic.name,
                title=topic.title,
                media_type=corpus.MEDIA_TYPE,
                declared_tier=TIER_PUBLIC,
                timeout=ANSWER_S,
            )
        except (Overloaded, Unavailable):
            await asyncio.sleep(pause)
    raise NotReady(f"{topic.name} could not be put: the services are not keeping up")


async def publish_as_a_product(endpoints: Endpoints, say: Say) -> list[str]:
    """Publishes two good events and a bad one with nothing but aiokafka and a signature, and reads what comes back.

    Returns the ids of the queries that were answered. Raises NotReady when something does not come back.
    """
    signer = read_signer(Path(endpoints.keys) / FILE)
    async with _listening(endpoints.bus()) as listener, _producing(endpoints.bus()) as producer:
        publish = partial(_publish, producer, signer)
        answered = [
            await publish(_submitted(question.text), encoding)
            for question, encoding in zip(BY_EVENT, Encoding, strict=True)
        ]
        for query_id, question in zip(answered, BY_EVENT, strict=True):
            say(f"→ query.submitted   {question.why:<12} {question.text}  ({query_id[:8]})")
        bad = await publish(_submitted(""), Encoding.JSON)
        say(f"→ query.submitted   a bad event  without a question  ({bad[:8]})")
        await _read_until({*answered, bad}, listener, say)
    return answered


def _submitted(text: str) -> QuerySubmitted:
    return QuerySubmitted(query_id=str(uuid4()), tenant=TENANT, product=PRODUCT, text=text)


async def _publish(producer: AIOKafkaProducer, signer: Signer, query: QuerySubmitted, encoding: Encoding) -> str:
    as_json = encoding is Encoding.JSON
    value = MessageToJson(query).encode() if as_json else query.SerializeToString()
    name = topics.QUERY_SUBMITTED.name
    signature = signed(signer, name, query, value=value, now=datetime.now(UTC).timestamp())
    headers = {"content-type": f"application/{encoding.value}", **signature}
    encoded = [(header, text.encode()) for header, text in headers.items()]
    await producer.send_and_wait(name, value, key=query.query_id.encode(), headers=encoded)
    return query.query_id


@asynccontextmanager
async def _producing(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        yield producer


@asynccontextmanager
async def _listening(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Gives a consumer that hears what comes to the two topics from now on."""
    wanted = {topics.ANSWER_COMPLETED.name, topics.QUERY_REFUSED.name}
    consumer = AIOKafkaConsumer(*wanted, bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="latest")
    async with consumer:
        # Where the bus makes topics by itself, they are there only some moments after they were asked for.
        while {partition.topic for partition in consumer.assignment()} != wanted:  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(0.1)
        await consumer.seek_to_end()
        await asyncio.gather(*(consumer.position(partition) for partition in consumer.assignment()))
        yield consumer


async def _read_until(expected: set[str], listener: AIOKafkaConsumer, say: Say) -> None:
    try:
        async with asyncio.timeout(ANSWER_S):
            while expected:
                expected.discard(_heard(await listener.getone(), expected, say))
    except TimeoutError as error:
        raise NotReady(f"no answer to {', '.join(sorted(expected))} within {ANSWER_S:.0f} s") from error


def _heard(record: object, expected: set[str], say: Say) -> str:
    """Tells of an event that answers one of ours, and returns its query's id."""
    value, topic = record.value, record.topic  # type: ignore[attr-defined]
    if topic == topics.QUERY_REFUSED.name:
        refused = QueryRefused.FromString(value)
        if refused.query_id in expected:
            reasons = "; ".join(f"{v.field}: {v.reason}" for v in refused.violations)
            say(f"← query.refused     {reasons}  ({refused.query_id[:8]})")
        return refused.query_id
    answer = AnswerCompleted.FromString(value)
    if answer.query.query_id in expected:
        text = " ".join(answer.text.plain.split()) or f"{answer.text.characters} characters, sealed"
        shown = text if len(text) <= 90 else f"{text[:89]}…"
        say(f"← answer.completed  {shown}  ({answer.query.query_id[:8]})")
    return answer.query.query_id


async def ask(client: Client, question: Question) -> Asked:
    """Asks over gRPC and writes the answer as it comes, then all that made it."""
    view = TerminalView()
    asked: Asked | None = None
    async with AsyncExitStack() as stack:
        stack.callback(view.close)
        updates = client.ask(question.text, tenant=TENANT, product=PRODUCT, subject=question.subject, timeout=ANSWER_S)
        async for update in await stack.enter_async_context(aclosing(updates)):
            view.show(update)
            if isinstance(update, Answered):
                asked = _asked(question, update)
    if asked is None:
        raise NotReady("the stream ended without an answer")
    return asked


def _asked(question: Question, update: Answered) -> Asked:
    facts = answer_json(update.answer, query_id=update.query_id, trace_id=update.trace_id)
    total = facts["timings_ms"].get("total", 0.0)
    return Asked(question.text, update.query_id, facts["trace_id"], facts["tier"], facts["grounding"], total)


async def classify(client: Client, question: Question) -> tuple[str, str]:
    """Returns the tier of a question and the text as every service after the classifier sees it."""
    verdict = await client.classify(question.text, tenant=TENANT, product=PRODUCT)
    return tier_word(verdict.tier), verdict.masked_text


async def draw_trace(client: Client, asked: Asked, say: Say) -> int:
    """Draws the waterfall of a query's trace, and returns how many spans it has."""
    spans = await fetch_trace(client, asked.query_id, wait=10.0)
    for line in waterfall([to_waterfall(span) for span in spans], WIDTH):
        say(line.plain)
    return len(spans)


async def thumb_up(client: Client, asked: Asked) -> str:
    """Says that an answer was good, and returns the feedback's id."""
    judgement = FeedbackSubmitted(
        feedback_id=str(uuid4()), tenant=TENANT, query_id=asked.query_id, subject="demo", thumb=THUMB_UP
    )
    return (await client.record_feedback(judgement)).feedback_id


async def erase_the_asker(client: Client, subject: str) -> Erasure:
    """Erases an end user with all that they asked, and returns the erasure with its receipt. Raises TimedOut."""
    scope = ErasureScope(tenant=TENANT, subject=subject)
    erasure = await client.erase(scope, reason="The tour is over")
    async for stands in client.follow_erasure(erasure.erasure_id, timeout=ERASURE_S):
        erasure = stands
    return erasure


async def close_the_books(endpoints: Endpoints, client: Client) -> Report:
    """Compares the bus with the books of ingest and of the feedback logger."""
    async with open_reader(endpoints.bus()) as reader:
        for _ in range(10):
            report = reconcile(await gather_facts(reader, client), grace=timedelta(seconds=60), now=datetime.now(UTC))
            if report.agrees and not report.on_the_way:
                break
            await asyncio.sleep(0.5)
    return report
