"""The Kafka and gRPC edges, on memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.inference.v1 import service_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1 import answer_pb2
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Hop, Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_identity import Principal
from headrace_identity.principal import acting_as
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.memory import MemoryAnswers, MemoryGate, ScriptedModel
from headrace_inference.adapters.memory_routes import MemoryAnswerers, MemoryEmbedder, MemoryRouteBooks, MemorySpending
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.consumers import Consumer
from headrace_inference.domain import Decoding, Versioned
from headrace_inference.ports import Gate, Model
from headrace_inference.route_choosing import Answerer, Router
from headrace_inference.route_tables import RouteTables
from headrace_inference.routing import Standing
from headrace_inference.servicer import InferenceServicer
from headrace_models.prompting import Turn
from headrace_privacy import Erased, Opener, Owner, Seal, Text, Tier, Vault, is_sealed
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Denied, Overloaded, Rejected, Unavailable
from headrace_stream.memory import MemoryBus, MemoryLedger, delivered

from services.inference.tests.passages import MANUAL

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CONTEXT: Any = None
GOOD = "The pour statement hands a value to the basin that called the sluice. It was invented in 1802. "


def retrieved(text: str = "What does the pour statement do?", **query: str) -> QueryRetrieved:
    chunks = [
        RetrievedChunk(
            reference=ChunkReference(
                chunk_id=str(UUID(int=i)), source=s.collection, similarity=s.similarity, tier=privacy_pb2.TIER_1
            ),
            text=ProtectedText(plain=s.text, characters=len(s.text)),
        )
        for i, s in enumerate(MANUAL)
    ]
    return QueryRetrieved(
        query=Query(
            **{"query_id": QUERY, "tenant": "demo", "product": "docs", **query}, hops=[Hop(service="retriever")]
        ),
        text=ProtectedText(plain=text, characters=len(text)),
        tier=privacy_pb2.TIER_PUBLIC,
        chunks=chunks,
    )


class House:
    """The consumer over memory."""

    def __init__(self, model: Any, *, gate: MemoryGate | None = None) -> None:
        self.keyring, self.gate = MemoryKeyring(), gate or MemoryGate()
        self.answers, self.bus, self.ledger = MemoryAnswers(), MemoryBus(), cast(Any, MemoryLedger())
        self.vault = Vault(self.keyring, clock=time.monotonic)
        self.variant = read_catalogue().variant(DEFAULT)
        self.answerers = {DEFAULT: Answerer(self.variant, model, self.gate, "local")}
        self.standings: dict[Versioned, Standing] = {}
        self.books, self.embedder, self.spending = MemoryRouteBooks(), MemoryEmbedder(), MemorySpending()
        self.tables = RouteTables(self.books, self.embedder, time.monotonic, lambda: NOW)
        answerers = MemoryAnswerers(self.answerers, self.standings)
        self.router = Router(self.tables, answerers, self.spending, DEFAULT, lambda: NOW)
        self.consumer = Consumer(
            ledger=self.ledger,
            answers_on=lambda unit: self.answers,
            index=self.answers,
            publisher=self.bus,
            router=self.router,
            vault=self.vault,
            new_id=uuid4,
            now=lambda: NOW,
        )

    async def take(self, message: QueryRetrieved, event_id: UUID | None = None) -> None:
        event = delivered(message, topics.QUERY_RETRIEVED, service="inference", event_id=event_id or uuid4(), key=QUERY)
        assert await self.consumer.on_query(event) == ()


async def test_an_answer_carries_all_that_made_it() -> None:
    house = House(ScriptedModel(GOOD))
    await house.take(retrieved())
    (event,) = house.ledger.published
    answer: answer_pb2.AnswerCompleted = event.message
    assert answer.text.plain == "The pour statement hands a value to the basin that called the sluice [1]."
    assert answer.grounding == answer_pb2.GROUNDING_GROUNDED
    assert [(c.number, c.chunk.chunk_id) for c in answer.citations] == [(1, str(UUID(int=0)))]
    assert [r.chunk_id for r in answer.retrieved] == [str(UUID(int=i)) for i in range(4)]
    assert answer.tier == privacy_pb2.TIER_1
    assert event.tier is Tier.TIER_1
    assert (answer.model.name, answer.model.provider) == ("scripted", "memory")
    assert (answer.prompt.name, answer.prompt.version) == ("grounded-answer", "1")
    assert (answer.variant.name, answer.variant.version) == ("default", "1")
    assert answer.usage.input_tokens == 100
    assert answer.decoding.max_output_tokens == 96
    assert answer.time_to_first_token_ms == pytest.approx(10)
    assert [h.service for h in answer.query.hops] == ["retriever", "inference"]
    assert answer.completed_at.ToDatetime(UTC) == NOW


async def test_chunks_are_numbered_and_add_up_to_the_text() -> None:
    house = House(ScriptedModel(GOOD))
    await house.take(retrieved())
    chunks = [event.message for event in house.bus.published]
    assert chunks[0].started.passages == 4
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert len({c.generation_id for c in chunks}) == 1
    (event,) = house.ledger.published
    assert "".join(c.text.plain for c in chunks[1:]) == event.message.text.plain


async def test_a_query_that_has_its_answer_does_no_work() -> None:
    house = House(model := ScriptedModel(GOOD))
    for event_id in (UUID(int=1), UUID(int=1), UUID(int=2)):
        await house.take(retrieved(), event_id)
    assert len(house.ledger.published) == 1
    assert len(model.conversations) == 1
    await house.take(retrieved(tenant="other"))  # the same id, another tenant: another query
    assert len(house.ledger.published) == 2


async def test_of_two_answers_the_first_to_commit_stands() -> None:
    house = House(ScriptedModel(GOOD))
    consumer = house.consumer

    class Late(MemoryAnswers):
        """An index that has not seen the other's commit."""

        async def is_answered(self, tenant: str, query_id: UUID) -> bool:
            return False

    for event_id in (UUID(int=1), UUID(int=2)):
        event = delivered(retrieved(), topics.QUERY_RETRIEVED, service="inference", event_id=event_id)
        late = replace(consumer, index=Late())
        await late.on_query(event)
    assert len(house.ledger.published) == 1


class Full(ScriptedModel):
    """A model whose queue is full."""

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[Any]:
        raise Overloaded("the model")
        yield


async def test_on_the_bus_a_query_waits_for_a_busy_model() -> None:
    with pytest.raises(Unavailable):
        await House(Full("")).take(retrieved())


class DeafBus(MemoryBus):
    """A bus that takes nothing."""

    async def publish(self, *events: Any) -> None:
        raise Unavailable("kafka")


async def test_a_lost_chunk_costs_no_answer() -> None:
    house = House(ScriptedModel(GOOD))
    deaf = replace(house.consumer, publisher=DeafBus())
    await deaf.on_query(delivered(retrieved(), topics.QUERY_RETRIEVED, service="inference", event_id=uuid4()))
    assert len(house.ledger.published) == 1


@pytest.mark.parametrize("message", [retrieved(""), retrieved(query_id="x")])
async def test_what_is_no_query_is_rejected(message: QueryRetrieved) -> None:
    with pytest.raises(Rejected):
        await House(ScriptedModel("")).take(message)


async def sealed(house: House, message: QueryRetrieved, *, subject: str = "user-17") -> tuple[QueryRetrieved, Seal]:
    """As it comes of an end user who asks about a customer's documents, and what sealed the question."""
    message.query.subject = subject
    vault = Vault(house.keyring, clock=time.monotonic)
    mine = await vault.seal_for(Owner.subject("demo", subject))
    message.text.CopyFrom(mine.protect(Text(message.text.plain, Tier.PUBLIC)))
    for index, chunk in enumerate(message.chunks):
        theirs = await vault.seal_for(Owner.document("demo", "race-manual", f"{index}.md"))
        chunk.reference.title, chunk.reference.tier = "The pour statement", privacy_pb2.TIER_2
        chunk.reference.CopyFrom(theirs.seal_labels(chunk.reference, Tier.TIER_2))
        chunk.text.CopyFrom(theirs.protect(Text(chunk.text.plain, Tier.TIER_2)))
    return message, mine


async def test_what_is_sealed_is_opened_here_and_its_answer_sealed() -> None:
    house = House(model := ScriptedModel(GOOD))
    message, mine = await sealed(house, retrieved())
    await house.take(message)
    assert "pour statement" in model.conversations[0][-1].text
    (event,) = house.ledger.published
    answer: answer_pb2.AnswerCompleted = event.message
    assert (answer.question, answer.tier) == (message.text, privacy_pb2.TIER_2)
    assert answer.text.sealed.key_id == mine.key.key_id
    assert [r.sealed_labels for r in answer.retrieved] == [c.reference.sealed_labels for c in message.chunks]
    opener = Opener({mine.key.key_id: mine.key})
    text = opener.reveal(answer.text, Tier.TIER_2).reveal()
    assert text == "The pour statement hands a value to the basin that called the sluice [1]."
    chunks = [event.message for event in house.bus.published]
    assert all(is_sealed(c.text) for c in chunks[1:])
    assert "".join(opener.reveal(c.text, Tier.TIER_2).reveal() for c in chunks[1:]) == text
    assert {event.tier for event in house.bus.published} == {Tier.TIER_2}
    for event in (*house.bus.published, *house.ledger.published):
        assert b"pour" not in event.message.SerializeToString()


async def test_an_erased_passage_is_as_if_it_was_not_found() -> None:
    house = House(model := ScriptedModel(GOOD))
    message, _ = await sealed(house, retrieved())
    house.keyring.destroy(Owner.document("demo", "race-manual", "0.md"))
    await house.take(message)
    assert not model.conversations or "hands a value" not in model.conversations[0][-1].text
    (event,) = house.ledger.published
    assert str(UUID(int=0)) not in {c.chunk.chunk_id for c in event.message.citations}


async def test_an_erased_question_is_not_answered_and_not_given_a_new_key() -> None:
    house = House(model := ScriptedModel(GOOD))
    message, _ = await sealed(house, retrieved())
    house.keyring.destroy(Owner.subject("demo", "user-17"))
    with pytest.raises(Erased):
        await house.take(message)
    assert (model.conversations, house.ledger.published, house.bus.published) == ([], [], [])


async def test_what_the_policy_keeps_from_the_model_is_answered_without_it() -> None:
    house = House(model := ScriptedModel(GOOD), gate=MemoryGate(Tier.TIER_1))
    message, _ = await sealed(house, retrieved())
    await house.take(message)
    assert model.conversations == []
    (asked,) = house.gate.asked
    assert (asked.role, asked.subject, asked.tenant, asked.tier) == ("product", "docs", "demo", Tier.TIER_2)
    assert (list(asked.sources), list(asked.records)) == (["race-manual"], [QUERY])
    (event,) = house.ledger.published
    assert event.message.grounding == answer_pb2.GROUNDING_EXTRACTED
    assert event.message.finish_reason == "withheld"
    assert (event.message.model.name, event.message.model.provider) == ("extraction", "local")
    assert is_sealed(event.message.text)


@dataclass(frozen=True, slots=True)
class Alone:
    """The only backend that there is."""

    model: Model
    gate: Gate

    def find(self, name: str) -> Alone | None:
        return None if name else self


async def test_a_call_whose_tier_nobody_says_goes_to_no_model_outside() -> None:
    servicer = InferenceServicer(Alone(model := ScriptedModel(""), MemoryGate(Tier.TIER_1)))
    asked = request((service_pb2.ROLE_USER, "Say it"))
    asked.tenant = "demo"
    with pytest.raises(Denied):
        [r async for r in servicer.Generate(asked, CONTEXT)]
    assert model.conversations == []


@pytest.mark.parametrize(
    ("tenant", "tier", "counts_as"),
    [
        ("", privacy_pb2.TIER_UNSPECIFIED, Tier.TIER_1),
        ("demo", privacy_pb2.TIER_UNSPECIFIED, Tier.TIER_2),
        ("demo", privacy_pb2.TIER_PUBLIC, Tier.PUBLIC),
        ("", privacy_pb2.TIER_2, Tier.TIER_2),
    ],
)
async def test_a_call_says_what_its_turns_hold(tenant: str, tier: Any, counts_as: Tier) -> None:
    servicer = InferenceServicer(Alone(ScriptedModel("Yes"), gate := MemoryGate()))
    asked = request((service_pb2.ROLE_USER, "Say it"))
    asked.tenant, asked.tier = tenant, tier
    assert [r async for r in servicer.Generate(asked, CONTEXT)]
    assert [(s.role, s.subject, s.tier) for s in gate.asked] == [("developer", "dana", counts_as)]


async def test_a_call_of_a_backend_that_there_is_not_names_the_field() -> None:
    asked = request((service_pb2.ROLE_USER, "Say it"))
    asked.backend = "nowhere"
    with pytest.raises(Rejected, match="backend"):
        [r async for r in InferenceServicer(Alone(ScriptedModel(""), MemoryGate())).Generate(asked, CONTEXT)]


@pytest.fixture(autouse=True)
def developer() -> Iterator[None]:
    """Who calls."""
    with acting_as(Principal("developer", "demo", "dana")):
        yield


def request(*turns: tuple[int, str], **decoding: float) -> service_pb2.GenerateRequest:
    made = [service_pb2.Turn(role=cast(Any, role), text=text) for role, text in turns]
    return service_pb2.GenerateRequest(turns=made, decoding=answer_pb2.Decoding(**cast(Any, decoding)))


async def test_a_call_streams_text_and_then_its_end() -> None:
    servicer = InferenceServicer(Alone(TracedModel(ScriptedModel("Water falls")), MemoryGate()))
    responses = [r async for r in servicer.Generate(request((service_pb2.ROLE_USER, "Say it")), CONTEXT)]
    assert "".join(r.text for r in responses) == "Water falls "
    assert responses[-1].finished.reason == "stop"
    assert responses[-1].finished.usage.output_tokens == 2
    assert responses[-1].finished.model.name == "scripted"


async def test_a_call_that_ends_early_leaves_the_model() -> None:
    model = ScriptedModel("Water falls and falls")
    responses = cast(
        Any, InferenceServicer(Alone(model, MemoryGate())).Generate(request((service_pb2.ROLE_USER, "Say it")), CONTEXT)
    )
    await anext(responses)
    await responses.aclose()
    assert model.left == 1


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        (request(), ["turns"]),
        (request((service_pb2.ROLE_ASSISTANT, "Hi")), ["turns[0].role"]),
        (request((0, "Hi"), (service_pb2.ROLE_USER, "")), ["turns[0].role", "turns[1].text"]),
        (request((service_pb2.ROLE_USER, "Hi"), temperature=-1), ["decoding.temperature"]),
        (
            request((service_pb2.ROLE_USER, "Hi"), top_p=2, max_output_tokens=10**6),
            ["decoding.max_output_tokens", "decoding.top_p"],
        ),
    ],
)
async def test_a_call_that_makes_no_sense_names_each_field(
    asked: service_pb2.GenerateRequest, fields: list[str]
) -> None:
    with pytest.raises(Rejected) as refused:
        [r async for r in InferenceServicer(Alone(ScriptedModel(""), MemoryGate())).Generate(asked, CONTEXT)]
    assert [v.field for v in refused.value.violations] == fields


def test_nothing_that_holds_text_prints_it() -> None:
    turn = Turn("user", "my secret")
    assert "secret" not in repr(turn)
    assert "secret" not in repr(House(ScriptedModel("")).variant.prompt.key)
