"""Messages to questions and changes, and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from headrace.document.v1.document_pb2 import Document as WireDocument
from headrace.document.v1.document_pb2 import DocumentEmbedded, EmbeddedChunk
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace.query.v1.query_pb2 import Hop, Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, EmbedderIdentity
from headrace.retrieval.v1.service_pb2 import SearchRequest
from headrace_privacy import Erased, Opener, Owner, Seal, Text, Tier, is_sealed, plain_vector
from headrace_retriever.domain import Found, Indexed, Passage, chunk_id
from headrace_retriever.testing import KEY, NOW, OPENER, document, resting
from headrace_retriever.translate import (
    from_found,
    from_indexed,
    from_lookup,
    opened,
    strictest_of,
    to_change,
    to_lookup,
    to_question,
)
from headrace_runtime.errors import Rejected

EMBEDDER = EmbedderIdentity(name="small", dimensions=2, hash="00")
TEXT = ProtectedText(plain="What is nonlocal?", characters=17)


def query_event() -> QueryEmbedded:
    query = Query(query_id="q", tenant="acme", product="p", hops=[Hop(service="embedder")])
    return QueryEmbedded(
        query=query, text=TEXT, tier=privacy_pb2.TIER_1, vector=plain_vector([1.0, 0.5]), embedder=EMBEDDER
    )


def document_event() -> DocumentEmbedded:
    chunk = EmbeddedChunk(ordinal=0, headings=["Top"], text=TEXT, vector=plain_vector([1.0, 0.5]), tokens=4)
    which = WireDocument(tenant="acme", source="docs", document_id="a/b c", version=3, title="T", uri="u")
    return DocumentEmbedded(document=which, tier=privacy_pb2.TIER_1, chunks=[chunk], embedder=EMBEDDER)


def passage(tier: Tier) -> Passage:
    which = document("a", version=2)
    return Passage(
        chunk_id(which, 3),
        which,
        3,
        resting(which, "The passage.", tier),
        tier,
        0.03,
        0.5,
        vector_rank=1,
        text_rank=0,
    )


def field_of(refused: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(Rejected) as caught:
        refused()
    (violation,) = caught.value.violations
    return violation.field, violation.reason


def test_a_query_becomes_a_question() -> None:
    question = to_question(query_event(), top_k=5, opener=OPENER)
    assert (question.tenant, question.text.reveal(), question.top_k) == ("acme", "What is nonlocal?", 5)
    assert question.vector.tolist() == [1.0, 0.5]
    assert (question.max_tier, question.text.tier) == (Tier.TIER_2, Tier.TIER_1)


def test_a_limit_that_is_not_known_is_refused_rather_than_lifted() -> None:
    event = query_event()
    event.query.max_document_tier = 9  # type: ignore[assignment]  # a newer publisher's
    assert field_of(lambda: to_question(event, top_k=1, opener=OPENER)) == ("query.max_document_tier", "unknown_value")


@pytest.mark.parametrize(
    "vector",
    [
        ProtectedVector(float32=b"\0" * 7, dimensions=2),
        ProtectedVector(float32=b"\0" * 8, dimensions=2),
        ProtectedVector(float32=struct.pack("<3f", 1, 2, 3), dimensions=3),
        ProtectedVector(float32=struct.pack("<2f", float("nan"), 1), dimensions=2),
        ProtectedVector(float32=struct.pack("<2f", float("inf"), 1), dimensions=2),
        ProtectedVector(float32=struct.pack("<2f", 70_000, 1), dimensions=2),
        ProtectedVector(),
    ],
    ids=["torn", "zero", "too many", "nan", "infinite", "beyond half precision", "missing"],
)
def test_a_vector_without_a_cosine_is_refused(vector: ProtectedVector) -> None:
    event = query_event()
    event.vector.CopyFrom(vector)
    assert field_of(lambda: to_question(event, top_k=1, opener=OPENER))[0] == "vector"
    put = document_event()
    put.chunks[0].vector.CopyFrom(vector)
    assert field_of(lambda: to_change(put, opener=OPENER, seal=None))[0] == "chunks[0].vector"


def sealed_query() -> QueryEmbedded:
    event, seal = query_event(), Seal(Owner.subject("acme", "u"), KEY)
    event.text.CopyFrom(seal.protect(Text("What is nonlocal?", Tier.TIER_2)))
    event.vector.CopyFrom(seal.protect_vector([1.0, 0.5], Tier.TIER_2))
    return event


def sealed_document() -> DocumentEmbedded:
    event = document_event()
    seal = Seal(Owner.document("acme", "docs", "a/b c"), KEY)
    event.tier = privacy_pb2.TIER_2
    event.document.CopyFrom(seal.seal_labels(event.document, Tier.TIER_2))
    chunk = seal.seal_labels(event.chunks[0], Tier.TIER_2)
    chunk.text.CopyFrom(seal.protect(Text("What is nonlocal?", Tier.TIER_2)))
    chunk.vector.CopyFrom(seal.protect_vector([1.0, 0.5], Tier.TIER_2))
    event.chunks[0].CopyFrom(chunk)
    return event


def test_a_sealed_question_is_opened_and_sent_on_as_it_came() -> None:
    event = sealed_query()
    question = to_question(event, top_k=1, opener=OPENER)
    assert (question.text.reveal(), question.vector.tolist()) == ("What is nonlocal?", [1.0, 0.5])
    found = Found((passage(Tier.TIER_2),), 8, 40, 60, "hnsw")
    retrieved = from_found(event, found, received_at=NOW, finished_at=NOW)
    assert (retrieved.text, retrieved.vector) == (event.text, event.vector)
    (chunk,) = retrieved.chunks
    assert is_sealed(chunk.text)
    assert (chunk.reference.title, list(chunk.reference.headings), chunk.reference.uri) == ("", [], "")
    assert OPENER.open_labels(chunk.reference).title == "Title of a"


def test_a_sealed_document_is_opened_to_be_indexed_and_rests_as_it_came() -> None:
    event = sealed_document()
    change = to_change(event, opener=OPENER, seal=Seal(Owner.document("acme", "docs", "a/b c"), KEY))
    (chunk,) = change.chunks
    assert (change.title, chunk.headings, chunk.text.reveal()) == ("T", ("Top",), "What is nonlocal?")
    assert chunk.resting.text == event.chunks[0].text.SerializeToString()
    labels = ChunkReference.FromString(chunk.resting.labels)
    assert (labels.title, list(labels.headings), labels.uri) == ("", [], "")
    opened_labels = OPENER.open_labels(labels)
    assert (opened_labels.title, list(opened_labels.headings), opened_labels.uri) == ("T", ["Top"], "u")


def test_what_comes_in_the_clear_and_must_not_rest_so_is_sealed() -> None:
    event = document_event()
    event.tier = privacy_pb2.TIER_2
    change = to_change(event, opener=OPENER, seal=Seal(Owner.document("acme", "docs", "a/b c"), KEY))
    assert b"nonlocal" not in change.chunks[0].resting.text
    assert b"Top" not in change.chunks[0].resting.labels


def test_what_nobody_has_the_key_of_is_erased() -> None:
    with pytest.raises(Erased):
        to_question(sealed_query(), top_k=1, opener=Opener())
    with pytest.raises(Erased):
        to_change(sealed_document(), opener=Opener(), seal=None)


def test_a_search_is_answered_in_the_clear_without_what_is_erased() -> None:
    found = Found((passage(Tier.TIER_2), passage(Tier.PUBLIC)), 8, 40, 60, "hnsw")
    response = from_lookup(found)
    assert b"passage." not in response.chunks[0].SerializeToString()
    whole = opened(response, OPENER)
    assert [(c.text.plain, c.reference.title) for c in whole.chunks] == [("The passage.", "Title of a")] * 2
    assert not whole.chunks[0].reference.HasField("sealed_labels")
    assert [c.reference.tier for c in opened(response, Opener()).chunks] == [privacy_pb2.TIER_PUBLIC]
    assert opened(response, Opener()).settings == response.settings


@pytest.mark.parametrize("asked", [None, *Tier])
@pytest.mark.parametrize("clearance", list(Tier))
def test_nobody_searches_beyond_their_clearance(asked: Tier | None, clearance: Tier) -> None:
    request = SearchRequest(tenant="acme", text="nonlocal")
    if asked is not None:
        request.max_tier = privacy_pb2.Tier.ValueType(asked)
    assert to_lookup(request, clearance=clearance).max_tier == min(asked or Tier.TIER_2, clearance)


def test_the_answer_carries_the_query_on_with_one_more_hop() -> None:
    event, later = query_event(), NOW + timedelta(milliseconds=5)
    found = Found((passage(Tier.PUBLIC),), 8, 40, 60, "hnsw")
    retrieved = from_found(event, found, received_at=NOW, finished_at=later)
    assert [hop.service for hop in retrieved.query.hops] == ["embedder", "retriever"]
    assert retrieved.query.hops[1].finished_at.ToDatetime(UTC) == later
    assert [hop.service for hop in event.query.hops] == ["embedder"]  # the cause is left as it was
    assert (retrieved.text, retrieved.vector, retrieved.embedder) == (event.text, event.vector, event.embedder)
    (chunk,) = retrieved.chunks
    assert UUID(chunk.reference.chunk_id) == chunk_id(document("a", version=2), 3)
    assert (chunk.reference.version, chunk.reference.source, chunk.reference.document_id) == (2, "docs", "a")
    assert (chunk.reference.title, list(chunk.reference.headings)) == ("Title of a", ["Top"])
    assert (chunk.reference.tier, chunk.text.plain) == (privacy_pb2.TIER_PUBLIC, "The passage.")
    assert (chunk.vector_rank, chunk.text_rank) == (1, 0)
    assert (retrieved.settings.vector_search, retrieved.settings.rrf_k) == ("hnsw", 60)


def test_an_event_is_as_strict_as_the_strictest_that_it_carries() -> None:
    event = query_event()
    assert strictest_of(event, []) is Tier.TIER_1
    assert strictest_of(event, [passage(Tier.PUBLIC), passage(Tier.TIER_2)]) is Tier.TIER_2


def test_a_document_becomes_a_change_and_back() -> None:
    event = document_event()
    change = to_change(event, opener=OPENER, seal=None)
    assert (change.document.document_id, change.document.version, change.tier) == ("a/b c", 3, Tier.TIER_1)
    (chunk,) = change.chunks
    assert (chunk.headings, chunk.text.tier, chunk.tokens) == (("Top",), Tier.TIER_1, 4)
    indexed = from_indexed(event, Indexed(change, 1, datetime(2026, 1, 1, tzinfo=UTC)))
    assert (indexed.document, indexed.chunks, indexed.tier) == (event.document, 1, privacy_pb2.TIER_1)


def test_a_document_without_a_tier_is_the_strictest() -> None:
    event = document_event()
    event.tier = privacy_pb2.TIER_UNSPECIFIED
    assert to_change(event, opener=OPENER, seal=None).tier is Tier.TIER_2


def test_a_deletion_needs_no_embedder() -> None:
    event = document_event()
    del event.chunks[:]
    event.ClearField("embedder")
    assert to_change(event, opener=OPENER, seal=None).chunks == ()


@pytest.mark.parametrize(
    ("spoil", "field", "reason"),
    [
        (lambda e: setattr(e.document, "tenant", ""), "document.tenant", "missing"),
        (lambda e: setattr(e.document, "source", "A B"), "document.source", "unsupported"),
        (lambda e: setattr(e.document, "document_id", "a\0"), "document.document_id", "has_nul"),
        (lambda e: setattr(e.document, "document_id", ""), "document.document_id", "missing"),
        (lambda e: setattr(e.document, "document_id", "a" * 513), "document.document_id", "too_long"),
        (lambda e: setattr(e.document, "version", 2**63), "document.version", "too_large"),
        (lambda e: setattr(e.chunks[0], "ordinal", 2**31), "chunks[0].ordinal", "too_large"),
        (lambda e: setattr(e.chunks[0].text, "plain", "a\0"), "chunks[0].text", "has_nul"),
        (lambda e: e.chunks[0].headings.append("a\0"), "chunks[0].headings", "has_nul"),
        (lambda e: e.chunks.append(e.chunks[0]), "chunks", "unsupported"),
    ],
)
def test_what_can_never_be_stored_is_refused_by_field(
    spoil: Callable[[DocumentEmbedded], object], field: str, reason: str
) -> None:
    event = document_event()
    spoil(event)
    assert field_of(lambda: to_change(event, opener=OPENER, seal=None)) == (field, reason)


def test_a_search_has_defaults() -> None:
    lookup = to_lookup(SearchRequest(tenant="acme", text="nonlocal"), clearance=Tier.TIER_2)
    assert (lookup.top_k, lookup.max_tier, lookup.sources) == (8, Tier.TIER_2, ())


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (SearchRequest(text="a"), "tenant", "missing"),
        (SearchRequest(tenant="acme", text=" "), "text", "empty"),
        (SearchRequest(tenant="acme", text="a" * 8_001), "text", "too_long"),
        (SearchRequest(tenant="acme", text="a\0"), "text", "has_nul"),
        (SearchRequest(tenant="acme", text="a", top_k=101), "top_k", "too_large"),
        (SearchRequest(tenant="acme", text="a", sources=["x", "'"]), "sources", "unsupported"),
        (SearchRequest(tenant="acme", text="a", max_tier=7), "max_tier", "unknown_value"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_search_is_refused_by_field(request_: SearchRequest, field: str, reason: str) -> None:
    assert field_of(lambda: to_lookup(request_, clearance=Tier.TIER_2)) == (field, reason)


def test_no_text_is_in_a_repr() -> None:
    shown = repr(
        (
            to_question(query_event(), top_k=1, opener=OPENER),
            to_change(document_event(), opener=OPENER, seal=None),
            passage(Tier.TIER_2),
        )
    )
    assert "nonlocal" not in shown
    assert "passage." not in shown
    assert "0.5," not in shown.replace("similarity=0.5,", "")
