"""From the door to the answer, nothing of TIER_2 and nothing of an end user's travels in the clear.

Every service's own edge makes its events here, over memory, one after the other; what they make is searched.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import numpy as np
import pytest
from headrace import topics
from headrace.document.v1.document_pb2 import DocumentSubmitted
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_classifier.consumers import Consumers as Classifier
from headrace_classifier.verdict import Finding, FindingKind, Masked
from headrace_embedder.consumers import Consumers as Embedder
from headrace_embedder.domain import Chunk, Identity, Vector
from headrace_feedback.interaction import Versioned as LoggedVariant
from headrace_feedback.running.conducting import to_event
from headrace_feedback.running.logged import LoggedCases
from headrace_feedback.running.memory import MemoryShelf
from headrace_feedback.running.runs import Arm as RunArm
from headrace_feedback.running.runs import Ask as RunAsk
from headrace_feedback.running.runs import Kind as TrialKind
from headrace_feedback.running.runs import Person, Run, Wish, ask_id
from headrace_feedback.translate import read_answer
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.memory import MemoryAnswers, MemoryGate, ScriptedModel
from headrace_inference.adapters.memory_routes import memory_router
from headrace_inference.consumers import Consumer as Inference
from headrace_inference.domain import Versioned
from headrace_inference.route_choosing import Answerer
from headrace_inference.route_records import RouteRecord
from headrace_inference.routing import ANY, Arm, Route, Shadow
from headrace_inference.trial_consumers import TrialConsumer
from headrace_ingest import handlers as door
from headrace_ingest.adapters.memory import MemoryStore
from headrace_ingest.handlers import Door
from headrace_privacy import Owner, Seal, Tier, Vault, owner_of_document
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy import Policy
from headrace_retriever import translate as retriever
from headrace_retriever.domain import Found, Indexed, Passage
from headrace_stream import Delivery, Event
from headrace_stream.memory import MemoryBus, MemoryLedger, delivered

from tests.contracts import policy

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
#: What nobody may read on the way: of the question, of the document, of its title, heading and address.
CANARIES = ("zebra7731", "okapi7731", "zebra-title-7731", "zebra-heading-7731", "zebra-uri-7731")
TEXT = f"The {CANARIES[0]} statement hands a value to the basin {CANARIES[1]} that called the sluice."
MARKDOWN = f"# {CANARIES[3]}\n\n{TEXT}\n"
SHADOW = Versioned("other", "1")
EMBEDDER = Identity("fake", 2, "0123456789abcdef")


class Inspector:
    """Finds personal data wherever it is told to."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)

    async def mask(self, text: str) -> Masked:
        return Masked(text)

    async def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
        return self.findings


class Model:
    """Embeds and chunks as a test needs it."""

    identity = EMBEDDER

    async def embed_soon(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [Vector(np.array([0.6, 0.8], dtype=np.float32), 3) for _ in texts]

    embed_in_turn = embed_soon

    def forget(self) -> None: ...

    async def chunk(self, title: str, markdown: str) -> Sequence[Chunk]:
        return [Chunk((CANARIES[3],), TEXT, 9, f"{title}\n{CANARIES[3]}")] if TEXT in markdown else []

    async def markdown(self, content: bytes, media_type: str) -> str:
        return content.decode()


@dataclass
class Way:
    """All services, over one keyring and nothing else in common. `seen`: every event that was made."""

    tier: Tier
    keyring: MemoryKeyring = field(default_factory=MemoryKeyring)
    seen: list[Event[Any]] = field(default_factory=list)

    def vault(self) -> Vault:
        return Vault(self.keyring, clock=time.monotonic)

    async def put(self, submitted: DocumentSubmitted) -> tuple[Passage, ...]:
        """A document, from the door to the index; returns what is found there."""
        store = MemoryStore()
        handle = partial(door.submit_document, door=self._door(store), parser=Model())
        accepted = await self._through(store.ledger, handle, submitted, topics.DOCUMENT_SUBMITTED)
        (classified,) = await self._next(self._classifier().on_document, accepted)
        (embedded,) = await self._next(self._embedder().on_document, classified)
        opener = await self.vault().opener_for(embedded.message)
        seal = Seal(owner_of_document(embedded.message.document), next(iter(opener.keys.values()), await self._key()))
        change = retriever.to_change(embedded.message, opener=opener, seal=seal)
        indexed = retriever.from_indexed(embedded.message, Indexed(change, len(change.chunks), NOW))
        self.seen.append(_delivery(embedded).follow(topics.DOCUMENT_INDEXED, indexed))
        return tuple(
            Passage(uuid4(), change.document, chunk.ordinal, chunk.resting, change.tier, 1.0, 0.9, 1, 1)
            for chunk in change.chunks
        )

    async def ask(self, submitted: QuerySubmitted, passages: tuple[Passage, ...]) -> None:
        """A question, from the door to its answer."""
        store = MemoryStore()
        handle = partial(door.accept_query, door=self._door(store), noted=lambda *_: None)
        accepted = await self._through(store.ledger, handle, submitted, topics.QUERY_SUBMITTED)
        (classified,) = await self._next(self._classifier().on_query, accepted)
        (embedded,) = await self._next(self._embedder().on_query, classified)
        found = Found(passages, 8, 40, 60, "exact")
        message = retriever.from_found(embedded.message, found, received_at=NOW, finished_at=NOW)
        retrieved = _delivery(embedded).follow(topics.QUERY_RETRIEVED, message)
        self.seen.append(retrieved)
        await self._answer(retrieved)
        await self._ask_again()

    async def _ask_again(self) -> None:
        """Logs the answer, and asks its question again, as far as to its vector. The trial's answer stays the last."""
        shelf = MemoryShelf()
        (completed,) = [event for event in self.seen if event.topic == topics.ANSWER_COMPLETED]
        shelf.add(read_answer(completed.message, event_id=completed.event_id))
        cases = LoggedCases("acme", Wish(), MemoryLedger(), lambda _: shelf, self.vault())  # type: ignore[arg-type]
        candidates = await cases.candidates(limit=1, seed=0)
        (case,) = await cases.read(None, candidates, first=0)
        arm, by = RunArm(LoggedVariant("other", "1")), Person("developer", "dana")
        run = Run("acme", uuid4(), TrialKind.REPLAY, (arm,), 0, 1, by, NOW)
        event = to_event(run, case, RunAsk(ask_id(run.run_id, case.case_id, arm), run.run_id, case.case_id, 0, NOW))
        self.seen.insert(-1, event)
        self.seen[-1:-1] = await self._embedder().on_trial(_delivery(event))

    async def _answer(self, retrieved: Event[Any]) -> None:
        """Answers it, and has a shadow answer a copy."""
        ledger, bus, answers = MemoryLedger(), MemoryBus(), MemoryAnswers()
        variant = read_catalogue().variant(DEFAULT)
        answerers = {
            key: Answerer(replace(variant, name=key.name), ScriptedModel(TEXT), MemoryGate(), "local")
            for key in (DEFAULT, SHADOW)
        }
        router = memory_router(answerers, default=DEFAULT, now=lambda: NOW)
        route = Route(ANY, 1, (Arm(DEFAULT, 1),), shadows=(Shadow(SHADOW, 1),))
        async with router.tables.books.open("acme") as book:
            await book.add_route(RouteRecord(route, "dana", NOW))
        inference = Inference(
            ledger=ledger,  # type: ignore[arg-type]
            answers_on=lambda _: answers,
            index=answers,
            publisher=bus,
            router=router,
            vault=self.vault(),
            new_id=uuid4,
            now=lambda: NOW,
        )
        await inference.on_query(_delivery(retrieved))
        (shadowed,) = [event for event in ledger.published if event.topic == topics.QUERY_SHADOWED]
        self.seen += [*bus.published, *ledger.published]
        ledger.published.clear()
        trials = TrialConsumer(
            ledger=ledger,  # type: ignore[arg-type]
            answers_on=lambda _: answers,
            index=answers,
            router=router,
            evaluation=MemoryGate(),
            vault=self.vault(),
            now=lambda: NOW,
        )
        await trials.on_trial(_delivery(shadowed))
        self.seen += ledger.published

    def _door(self, store: MemoryStore) -> Door:
        return Door(store, self.vault(), Tier.TIER_2, lambda: NOW)

    async def _key(self) -> Any:
        return await self.keyring.issue(Owner.index("acme"))

    def _classifier(self) -> Classifier:
        findings = [Finding("email", FindingKind.PERSONAL_DATA, 1)] if self.tier is Tier.TIER_2 else []
        inspector = Inspector(findings)
        rules = Policy("1", {"shop": Tier.PUBLIC}, {("acme", "docs"): Tier.PUBLIC})
        return Classifier(rules, inspector, inspector, self.vault(), lambda: NOW)

    def _embedder(self) -> Embedder:
        none = cast(Any, None)  # nobody here has a model of its own
        return Embedder(Model(), Model(), none, self.vault(), lambda: None, lambda: NOW)

    async def _through(self, ledger: MemoryLedger, handle: Any, message: Any, topic: Any) -> Event[Any]:
        await handle(delivered(message, topic, service="ingest", event_id=uuid4(), received_at=NOW))
        (event,) = ledger.published
        self.seen.append(event)
        return event

    async def _next(self, handle: Any, event: Event[Any]) -> Sequence[Event[Any]]:
        made: Sequence[Event[Any]] = await handle(_delivery(event))
        self.seen += made
        return made


def _delivery(event: Event[Any]) -> Delivery[Any]:
    """As the next service takes it off the bus: from bytes."""
    message = type(event.message).FromString(event.message.SerializeToString())
    return delivered(
        message, event.topic, service="next", event_id=event.event_id, key=event.key, headers=event.headers(NOW)
    )


def leaks(events: Sequence[Event[Any]], canaries: Sequence[str]) -> set[str]:
    """The topics of the events in which one of the canaries can be read."""
    forms = [form for canary in canaries for form in (canary.encode(), base64.b64encode(canary.encode())[:-4])]
    found = set()
    for event in events:
        content = event.message.SerializeToString() + event.key.encode() + repr(event.headers(NOW)).encode()
        if any(form in content for form in forms):
            found.add(event.topic.name)
    return found


def question(*, subject: str = "") -> QuerySubmitted:
    text = f"What does the {CANARIES[0]} statement do?"
    return QuerySubmitted(query_id=QUERY, tenant="acme", product="shop", text=text, subject=subject)


def document() -> DocumentSubmitted:
    submitted = DocumentSubmitted(submission_id=str(UUID(int=1)), tenant="acme", source="docs", document_id="a.md")
    submitted.title, submitted.uri, submitted.declared_tier = CANARIES[2], f"https://x/{CANARIES[4]}", 1  # type: ignore[assignment]
    submitted.content.media_type, submitted.content.data = "text/markdown", MARKDOWN.encode()
    return submitted


@pytest.mark.parametrize("subject", ["", "user-17"])
async def test_nothing_of_tier_2_is_in_the_clear_after_the_door(subject: str) -> None:
    way = Way(Tier.TIER_2)
    await way.ask(question(subject=subject), await way.put(document()))
    assert leaks(way.seen, CANARIES) == set()
    assert way.seen[-1].message.citations, "an answer was made of it"


async def test_nothing_of_an_end_user_is_in_the_clear_whatever_its_tier() -> None:
    way = Way(Tier.PUBLIC)
    await way.ask(question(subject="user-17"), ())
    assert leaks(way.seen, CANARIES) == set()


async def test_every_topic_that_carries_text_was_looked_at() -> None:
    way = Way(Tier.TIER_2)
    await way.ask(question(), await way.put(document()))
    carrying = {name for name, topic in policy.load().items() if topic["text"] in policy.SEALED_STATES}
    assert {event.topic.name for event in way.seen} == carrying | {"document.indexed"}


async def test_what_is_public_travels_readable_once_it_is_known_to_be() -> None:
    """And so the search above can find what is there."""
    way = Way(Tier.PUBLIC)
    await way.ask(question(), await way.put(document()))
    accepted = {"query.accepted", "document.accepted"}
    assert leaks(way.seen, CANARIES) == {event.topic.name for event in way.seen} - accepted


class Open(Seal):
    """Seals nothing."""

    def applies(self, tier: Tier) -> bool:
        return False


class Careless(Vault):
    """Gives out seals that seal nothing."""

    async def seal_for(self, owner: Owner) -> Seal:
        return Open(owner, await self.key_of(owner))


class CarelessWay(Way):
    """Services that forgot to seal."""

    def vault(self) -> Vault:
        return Careless(self.keyring, clock=time.monotonic)


async def test_a_seal_that_is_left_out_is_caught() -> None:
    """A seeded bug: whatever the tier, nothing is sealed."""
    way = CarelessWay(Tier.TIER_2)
    await way.ask(question(), await way.put(document()))
    assert leaks(way.seen, CANARIES) == {event.topic.name for event in way.seen}


async def test_an_erasure_anywhere_on_the_way_leaves_nothing_that_opens() -> None:
    way = Way(Tier.TIER_2)
    await way.ask(question(subject="user-17"), await way.put(document()))
    for owner in (Owner.subject("acme", "user-17"), Owner.document("acme", "docs", "a.md")):
        way.keyring.destroy(owner)
    for event in way.seen:
        assert (await way.vault().opener_for(event.message)).keys == {}
