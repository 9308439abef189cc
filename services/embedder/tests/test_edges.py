"""What the embedder makes of the events that it takes, and of the calls that it answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest
from google.protobuf import json_format
from headrace import topics
from headrace.document.v1.document_pb2 import Deletion, Document, DocumentClassified, DocumentEmbedded
from headrace.embedding.v1.service_pb2 import URGENCY_SOON, EmbedAsRequest, EmbedAsResponse, EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2 import Passage as WirePassage
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.erasure_pb2 import ErasureRequested
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector
from headrace.query.v1.events_pb2 import QueryClassified, QueryEmbedded
from headrace.query.v1.query_pb2 import Hop, Query, Trial, TrialKind
from headrace.retrieval.v1.retrieval_pb2 import TrainedEmbedder
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_embedder.chunking import DocumentChunker
from headrace_embedder.consumers import ENVELOPE_BYTES, Consumers
from headrace_embedder.domain import Chunk, Identity, Passage, Trained, Vector
from headrace_embedder.handlers import embed_document
from headrace_embedder.servicer import EmbeddingServicer
from headrace_privacy import Erased, Opener, Text, Tier, Vault, owner_of_document, owner_of_query
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Conflict, Overloaded, Rejected
from headrace_stream import Event
from headrace_stream.memory import delivered

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
CAUSE = UUID("0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10")
DOCUMENT = Document(tenant="demo", source="s", document_id="d", version=3, title="Guide")


class FakeEmbedder:
    """The vector tells the text's length; remembers what it was asked, and how."""

    identity = Identity("fake", 2, "0123456789abcdef")

    def __init__(self) -> None:
        self.soon: list[str] = []
        self.in_turn: list[str] = []
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1

    async def embed_soon(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.soon.extend(texts)
        return [self._vector(text) for text in texts]

    async def embed_in_turn(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.in_turn.extend(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> Vector:
        return Vector(np.array([len(text), 1], dtype=np.float32), len(text.split()))


class FullEmbedder(FakeEmbedder):
    """Turns everybody away."""

    async def embed_soon(self, texts: Sequence[str]) -> Sequence[Vector]:
        raise Overloaded("the embedder")


class Direct:
    """Chunks at once, on the event loop."""

    def __init__(self, chunker: DocumentChunker) -> None:
        self._chunker = chunker

    async def chunk(self, title: str, markdown: str) -> Sequence[Chunk]:
        return self._chunker.chunks(title, markdown)

    async def embedded_texts(self, passages: Sequence[Passage]) -> Sequence[str]:
        return self._chunker.embedded_texts(passages)


class LentEmbedders:
    """Lends a fake for each model, and remembers which; one whose address is "nowhere" cannot be had."""

    def __init__(self) -> None:
        self.lent: dict[Trained, FakeEmbedder] = {}
        self.forgotten: list[tuple[str, str]] = []

    @asynccontextmanager
    async def lend(self, model: Trained) -> AsyncIterator[FakeEmbedder]:
        if model.address == "nowhere":
            raise Conflict(f"the weights of {model.model} cannot be used: missing")
        embedder = self.lent.setdefault(model, FakeEmbedder())
        embedder.identity = Identity(model.model, 2, "0123456789abcdef")
        yield embedder

    async def forget(self, tenant: str, model: str) -> None:
        self.forgotten.append((tenant, model))


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def consumers(embedder: FakeEmbedder, chunker: DocumentChunker) -> Consumers:
    vault = Vault(MemoryKeyring(), clock=time.monotonic)
    later = NOW + timedelta(milliseconds=5)
    return Consumers(embedder, Direct(chunker), LentEmbedders(), vault, embedder.forget, now=lambda: later)


async def on_query(consumers: Consumers, message: QueryClassified) -> Event[Any]:
    headers = {"ce_tenant": "demo", "ce_dataclassification": "public"}
    delivery = delivered(
        message, topics.QUERY_CLASSIFIED, service="embedder", event_id=CAUSE, key="k", headers=headers, received_at=NOW
    )
    (event,) = await consumers.on_query(delivery)
    return event


async def on_document(consumers: Consumers, message: DocumentClassified) -> Event[Any]:
    delivery = delivered(message, topics.DOCUMENT_CLASSIFIED, service="embedder", event_id=CAUSE, received_at=NOW)
    (event,) = await consumers.on_document(delivery)
    return event


def query(text: str, tier: privacy_pb2.Tier = privacy_pb2.TIER_1) -> QueryClassified:
    asked = Query(query_id="q", tenant="demo", hops=[Hop(service="ingest"), Hop(service="classifier")])
    return QueryClassified(query=asked, text=ProtectedText(plain=text, characters=len(text)), tier=tier)


async def sealed(consumers: Consumers, message: Any) -> Any:
    """As the classifier sends it on, of TIER_2."""
    message.tier = privacy_pb2.TIER_2
    if isinstance(message, QueryClassified):
        seal = await consumers.vault.seal_for(owner_of_query(message.query))
        message.text.CopyFrom(seal.protect(Text(message.text.plain, Tier.TIER_2)))
    else:
        seal = await consumers.vault.seal_for(owner_of_document(message.document))
        message.document.CopyFrom(seal.seal_labels(message.document, Tier.TIER_2))
        message.markdown.CopyFrom(seal.protect(Text(message.markdown.plain, Tier.TIER_2)))
    return message


def vector_of(content: ProtectedVector) -> list[float]:
    return Opener().reveal_vector(content).tolist()


def document(markdown: str) -> DocumentClassified:
    return DocumentClassified(document=DOCUMENT, tier=privacy_pb2.TIER_1, markdown=ProtectedText(plain=markdown))


async def test_a_query_gets_its_vector_and_keeps_the_rest(consumers: Consumers, embedder: FakeEmbedder) -> None:
    event = await on_query(consumers, query("What?"))
    message: QueryEmbedded = event.message
    assert event.topic is topics.QUERY_EMBEDDED
    assert (event.key, event.tenant, event.tier) == ("k", "demo", Tier.TIER_1)
    assert message.text.plain == "What?"
    assert message.text.characters == 5
    assert message.tier == privacy_pb2.TIER_1
    assert vector_of(message.vector) == [5, 1]
    assert (message.embedder.name, message.embedder.dimensions, message.embedder.hash) == (
        "fake",
        2,
        "0123456789abcdef",
    )
    assert embedder.soon == ["What?"]
    assert embedder.in_turn == []


async def test_a_question_that_nobody_waits_for_lets_the_others_go_first(
    consumers: Consumers, embedder: FakeEmbedder
) -> None:
    message = await sealed(consumers, query("What?"))
    trial = Trial(run_id="r", case_id="c", kind=TrialKind.TRIAL_KIND_REPLAY, variant="shorter", variant_version="2")
    message.query.trial.CopyFrom(trial)
    delivery = delivered(message, topics.QUERY_REPLAYED, service="embedder", event_id=CAUSE, key="k", received_at=NOW)
    (event,) = await consumers.on_trial(delivery)
    assert (event.topic, event.key, event.tier) == (topics.QUERY_EMBEDDED, "k", Tier.TIER_2)
    assert event.message.query.trial == trial
    assert event.message.text == message.text
    assert (embedder.soon, embedder.in_turn) == ([], ["What?"])


async def test_what_is_sealed_is_opened_here_and_travels_on_sealed(
    consumers: Consumers, embedder: FakeEmbedder
) -> None:
    asked = await sealed(consumers, query("What is zebra-7731?"))
    message: QueryEmbedded = (await on_query(consumers, asked)).message
    assert embedder.soon == ["What is zebra-7731?"]
    assert message.text == asked.text
    assert (message.vector.WhichOneof("content"), message.vector.dimensions) == ("sealed", 2)
    opener = await consumers.vault.opener_for(message)
    assert opener.reveal_vector(message.vector).tolist() == [len("What is zebra-7731?"), 1]


async def test_the_vector_of_an_end_user_is_sealed_whatever_its_tier(consumers: Consumers) -> None:
    asked = query("What?", privacy_pb2.TIER_PUBLIC)
    asked.query.subject = "user-17"
    assert (await on_query(consumers, asked)).message.vector.WhichOneof("content") == "sealed"


async def test_a_sealed_document_becomes_sealed_chunks(consumers: Consumers, embedder: FakeEmbedder) -> None:
    put = await sealed(consumers, document("# zebra-7731\n\nFirst zebra-7731.\n"))
    message: DocumentEmbedded = (await on_document(consumers, put)).message
    assert embedder.in_turn == ["Guide\nzebra-7731\n\nFirst zebra-7731."]
    assert b"zebra" not in message.SerializeToString()
    assert message.document == put.document
    (chunk,) = message.chunks
    opener = await consumers.vault.opener_for(message)
    assert opener.reveal(chunk.text, Tier.TIER_2).reveal() == "First zebra-7731."
    assert list(opener.open_labels(chunk).headings) == ["zebra-7731"]
    assert opener.reveal_vector(chunk.vector).tolist() == [len(embedder.in_turn[0]), 1]


async def test_what_was_erased_is_not_embedded(consumers: Consumers, embedder: FakeEmbedder) -> None:
    asked, put = await sealed(consumers, query("What?")), await sealed(consumers, document("# Guide"))
    stranger = replace(consumers, vault=Vault(MemoryKeyring(), clock=time.monotonic))
    with pytest.raises(Erased):
        await on_query(stranger, asked)
    with pytest.raises(Erased):
        await on_document(stranger, put)
    assert embedder.soon + embedder.in_turn == []


async def test_an_erasure_drops_keys_and_vectors(consumers: Consumers, embedder: FakeEmbedder) -> None:
    watched: dict[str, Any] = {}

    class Bus:
        def subscribe(self, *_: Any, **__: Any) -> None: ...

        def watch(self, topic: Any, watcher: Any, **_: Any) -> None:
            watched[topic.name] = watcher

    consumers.subscribe(cast(Any, Bus()), queries_in_flight=1, documents_in_flight=1)
    await watched["erasure.requested"](ErasureRequested())
    assert embedder.forgotten == 1


async def test_a_query_tells_how_long_the_embedder_took(consumers: Consumers) -> None:
    hops = (await on_query(consumers, query("What?"))).message.query.hops
    assert [hop.service for hop in hops] == ["ingest", "classifier", "embedder"]
    assert hops[2].received_at.ToDatetime(UTC) == NOW
    assert hops[2].finished_at.ToDatetime(UTC) == NOW + timedelta(milliseconds=5)


async def test_an_unknown_tier_is_the_strictest(consumers: Consumers) -> None:
    assert (await on_query(consumers, query("What?", privacy_pb2.TIER_UNSPECIFIED))).tier is Tier.TIER_2


async def test_a_replay_makes_the_same_event(consumers: Consumers) -> None:
    first, second = [await on_query(consumers, query("What?")) for _ in range(2)]
    assert first.event_id == second.event_id
    assert first.message == second.message


async def test_a_query_without_text_is_rejected(consumers: Consumers) -> None:
    with pytest.raises(Rejected, match="text: empty"):
        await on_query(consumers, query(""))


async def test_a_document_becomes_chunks_in_order(consumers: Consumers, embedder: FakeEmbedder) -> None:
    event = await on_document(consumers, document("# Guide\n\nFirst.\n\n## Setup\n\nRun it.\n"))
    message: DocumentEmbedded = event.message
    assert event.topic is topics.DOCUMENT_EMBEDDED
    assert event.tier is Tier.TIER_1
    assert message.document == DOCUMENT
    assert message.tier == privacy_pb2.TIER_1
    assert [(chunk.ordinal, list(chunk.headings), chunk.text.plain, chunk.tokens) for chunk in message.chunks] == [
        (0, ["Guide"], "First.", 2),
        (1, ["Guide", "Setup"], "Run it.", 3),
    ]
    assert embedder.in_turn == ["Guide\n\nFirst.", "Guide\nSetup\n\nRun it."]
    assert embedder.soon == []
    assert vector_of(message.chunks[1].vector) == [len(embedder.in_turn[1]), 1]


async def test_a_deletion_has_no_chunks(consumers: Consumers, embedder: FakeEmbedder) -> None:
    event = await on_document(
        consumers, DocumentClassified(document=DOCUMENT, tier=privacy_pb2.TIER_1, deletion=Deletion())
    )
    assert event.message.document == DOCUMENT
    assert not event.message.chunks
    assert event.message.embedder.name == "fake"
    assert embedder.in_turn == []


async def test_a_document_without_text_has_no_chunks(consumers: Consumers) -> None:
    assert not (await on_document(consumers, document("\n \n"))).message.chunks


async def test_a_document_that_says_nothing_is_rejected(consumers: Consumers) -> None:
    with pytest.raises(Rejected, match="change: missing"):
        await on_document(consumers, DocumentClassified(document=DOCUMENT))


async def test_a_document_too_large_for_its_event_is_rejected_before_it_is_embedded(
    chunker: DocumentChunker, embedder: FakeEmbedder
) -> None:
    with pytest.raises(Rejected) as rejected:
        await embed_document(
            "", "# canary\ntext\n" * 100, chunker=Direct(chunker), embedder=embedder, event_bytes=5_000
        )
    (violation,) = rejected.value.violations
    assert (violation.field, violation.reason) == ("markdown", "too_large")
    assert "100 chunks" in violation.description
    assert "canary" not in violation.description
    assert embedder.in_turn == []


@pytest.mark.parametrize(
    "markdown", ["# h\nt\n" * 300, "word " * 8_000, "# " + "x" * 190 + "\nt\n" + "## é\ntext\n" * 200]
)
async def test_the_size_is_never_underestimated(consumers: Consumers, chunker: DocumentChunker, markdown: str) -> None:
    size = (await on_document(consumers, await sealed(consumers, document(markdown)))).message.ByteSize()
    estimate = sum(chunk.wire_bytes + 4 * 2 for chunk in chunker.chunks("Guide", markdown))
    assert size <= estimate + ENVELOPE_BYTES
    assert estimate <= 3 * size


async def embed(embedder: FakeEmbedder, *texts: str) -> EmbedResponse:
    none = cast(Any, None)  # Embed needs neither
    servicer = EmbeddingServicer(embedder, trained=LentEmbedders(), chunker=none)
    return await servicer.Embed(EmbedRequest(texts=texts), cast(Any, None))


async def test_a_call_gets_its_vectors_in_order(embedder: FakeEmbedder) -> None:
    response = await embed(embedder, "a b c", "d")
    assert [list(embedding.values) for embedding in response.embeddings] == [[5, 1], [1, 1]]
    assert [embedding.tokens for embedding in response.embeddings] == [3, 1]
    assert response.embedder.name == "fake"
    assert embedder.soon == ["a b c", "d"]


async def test_many_texts_wait_their_turn(embedder: FakeEmbedder) -> None:
    await embed(embedder, *["text"] * 256)
    assert len(embedder.in_turn) == 256


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ([], "texts: empty"),
        (["x"] * 257, "texts: too_long"),
        (["x", "x", "x", ""], r"texts\[3\]: empty"),
        (["x", "x" * 100_001], r"texts\[1\]: too_long"),
        (["", "x", ""], r"texts\[0\]: empty; texts\[2\]: empty"),
    ],
)
async def test_wrong_texts_are_named_by_their_place(embedder: FakeEmbedder, texts: list[str], named: str) -> None:
    with pytest.raises(Rejected, match=f"^{named}$"):
        await embed(embedder, *texts)


async def test_the_longest_text_is_taken(embedder: FakeEmbedder) -> None:
    assert len((await embed(embedder, "x" * 100_000)).embeddings) == 1


async def test_an_overload_reaches_the_caller() -> None:
    with pytest.raises(Overloaded):
        await embed(FullEmbedder(), "x")


# --- by a tenant's own model ------------------------------------------------------------------------------------------

OWN = TrainedEmbedder(tenant="demo", model="own@aa", address="/models/own@aa", files={"model.safetensors": "0" * 64})


@pytest.fixture
def lent() -> LentEmbedders:
    return LentEmbedders()


@pytest.fixture
def servicer(embedder: FakeEmbedder, lent: LentEmbedders, chunker: DocumentChunker) -> EmbeddingServicer:
    return EmbeddingServicer(embedder, trained=lent, chunker=Direct(chunker))


async def embed_as(servicer: EmbeddingServicer, *passages: WirePassage, **more: Any) -> EmbedAsResponse:
    request = EmbedAsRequest(**{"embedder": OWN, "passages": passages, **more})
    return await servicer.EmbedAs(request, cast(Any, None))


async def test_passages_are_embedded_by_the_tenants_own_model(
    servicer: EmbeddingServicer, embedder: FakeEmbedder, lent: LentEmbedders
) -> None:
    response = await embed_as(servicer, WirePassage(text="a b c"), WirePassage(text="d"), urgency=URGENCY_SOON)
    assert [list(embedding.values) for embedding in response.embeddings] == [[5, 1], [1, 1]]
    assert response.embedder.name == "own@aa"
    ((model, own),) = lent.lent.items()
    assert (model.tenant, model.model, dict(model.files)) == ("demo", "own@aa", dict(OWN.files))
    assert (own.soon, own.in_turn, embedder.soon + embedder.in_turn) == (["a b c", "d"], [], [])


async def test_who_does_not_say_so_waits_their_turn(servicer: EmbeddingServicer, lent: LentEmbedders) -> None:
    await embed_as(servicer, WirePassage(text="a"))
    assert [own.in_turn for own in lent.lent.values()] == [["a"]]


async def test_a_passage_is_embedded_as_when_it_was_cut_out_of_its_document(
    servicer: EmbeddingServicer, lent: LentEmbedders, chunker: DocumentChunker
) -> None:
    title = "A guide to scopes "
    chunks = chunker.chunks(
        title, "# Names\n\nBinding.\n\n## " + "long heading " * 14 + "\n\n    nonlocal x\n\n" + "more " * 190
    )
    assert len(chunks) > 1
    await embed_as(servicer, *(WirePassage(title=title, headings=c.headings, text=c.text) for c in chunks))
    ((_, own),) = lent.lent.items()
    assert own.in_turn == [chunk.embedded_text for chunk in chunks]
    assert any(chunk.context for chunk in chunks)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"passages": []}, "passages: out_of_range"),
        ({"passages": [WirePassage(text="x")] * 65}, "passages: out_of_range"),
        ({"passages": [WirePassage(text="x"), WirePassage()]}, r"passages\[1\].text: empty"),
        ({"passages": [WirePassage(text="x" * 100_001)]}, r"passages\[0\].text: too_long"),
        ({"passages": [WirePassage(text="x", headings=["h" * 50_001, "h" * 50_000])]}, r"passages\[0\]: too_long"),
        ({"embedder": TrainedEmbedder()}, "embedder.tenant: malformed"),
        ({"embedder": TrainedEmbedder(tenant="../demo")}, "embedder.tenant: malformed"),
        ({"embedder": TrainedEmbedder(tenant="demo", model="../x@y")}, "embedder.model: malformed"),
        ({"embedder": TrainedEmbedder(tenant="demo", model="own@aa")}, "embedder.address: missing"),
        ({"embedder": TrainedEmbedder(tenant="demo", model="own@aa", address="/m")}, "embedder.files: missing"),
    ],
)
async def test_what_is_wrong_with_it_is_named(servicer: EmbeddingServicer, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(Rejected, match=f"^{named}$"):
        await embed_as(servicer, **{"passages": [WirePassage(text="x")], **wrong})


async def test_weights_that_cannot_be_used_reach_the_caller(servicer: EmbeddingServicer) -> None:
    nowhere = TrainedEmbedder(tenant="demo", model="own@aa", address="nowhere", files=OWN.files)
    with pytest.raises(Conflict, match=r": missing$"):
        await embed_as(servicer, WirePassage(text="x"), embedder=nowhere)


@pytest.mark.parametrize(
    ("change", "target", "is_forgotten"),
    [
        ("MODEL_CHANGE_RETIRED", "TARGET_EMBEDDER", True),
        ("MODEL_CHANGE_DELETED", "TARGET_EMBEDDER", True),
        ("MODEL_CHANGE_ROLLED_BACK", "TARGET_EMBEDDER", False),
        ("MODEL_CHANGE_PROMOTED", "TARGET_EMBEDDER", False),
        ("MODEL_CHANGE_CONDEMNED", "TARGET_EMBEDDER", False),
        ("MODEL_CHANGE_DELETED", "TARGET_GENERATOR", False),
    ],
)
async def test_a_model_that_is_over_is_let_go_of(
    consumers: Consumers, change: str, target: str, is_forgotten: bool
) -> None:
    message = json_format.ParseDict(
        {"change": change, "model": {"tenant": "demo", "model": "own@aa", "target": target}}, ModelChanged()
    )
    await consumers.on_model(message)
    assert cast(LentEmbedders, consumers.trained).forgotten == ([("demo", "own@aa")] if is_forgotten else [])
