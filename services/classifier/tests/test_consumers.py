"""What the classifier makes of the events that it takes, and of the calls that it answers."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from headrace import topics
from headrace.document.v1.document_pb2 import Deletion, Document, DocumentAccepted
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.service_pb2 import ClassifyRequest
from headrace.query.v1.events_pb2 import QueryAccepted
from headrace.query.v1.query_pb2 import Hop, Query
from headrace_classifier.consumers import Consumers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.ports import Inspector
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.servicer import PrivacyServicer
from headrace_classifier.verdict import Finding, Masked
from headrace_privacy import (
    Erased,
    Opener,
    Owner,
    Text,
    Tier,
    Vault,
    is_sealed,
    owner_of_document,
    owner_of_query,
)
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Rejected
from headrace_stream import Event
from headrace_stream.memory import delivered

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
CAUSE = UUID("0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10")
POLICY = Policy(
    "7",
    {"docs-search": Tier.PUBLIC, "crm": Tier.TIER_2},
    {("demo", "wiki"): Tier.TIER_1, ("demo", "docs"): Tier.PUBLIC},
)


class Direct:
    """Inspects at once, on the event loop."""

    def __init__(self, masker: SecretMasker, detector: PersonalDataDetector) -> None:
        self._masker, self._detector = masker, detector

    async def mask(self, text: str) -> Masked:
        return self._masker.mask(text)

    async def detect(self, text: str, dictionary: object = None) -> tuple[Finding, ...]:
        return self._detector.detect(text)


@pytest.fixture
def inspector(masker: SecretMasker, detector: PersonalDataDetector) -> Inspector:
    return Direct(masker, detector)


@pytest.fixture
def consumers(inspector: Inspector) -> Consumers:
    return Consumers(
        POLICY,
        queries=inspector,
        documents=inspector,
        vault=Vault(MemoryKeyring(), clock=time.monotonic),
        now=lambda: NOW + timedelta(milliseconds=3),
    )


async def _opened(consumers: Consumers, message: Any) -> Opener:
    return await consumers.vault.opener_for(message)


async def _sealed(consumers: Consumers, message: Any, *, owner: Owner, text: str) -> Any:
    """As the door sends it on."""
    message.raw.CopyFrom((await consumers.vault.seal_for(owner)).protect(Text(text, Tier.TIER_2)))
    message.ClearField("text" if isinstance(message, QueryAccepted) else "change")
    return message


async def _classify_query(consumers: Consumers, message: QueryAccepted) -> Event[Any]:
    delivery = delivered(
        message, topics.QUERY_ACCEPTED, service="classifier", event_id=CAUSE, key="k", received_at=NOW,
        headers={"ce_tenant": "demo", "ce_dataclassification": "public"},
    )  # fmt: skip
    (event,) = await consumers.on_query(delivery)
    return event


async def _classify_document(consumers: Consumers, message: DocumentAccepted) -> Event[Any]:
    delivery = delivered(message, topics.DOCUMENT_ACCEPTED, service="classifier", event_id=CAUSE, received_at=NOW)
    (event,) = await consumers.on_document(delivery)
    return event


def _query(text: str, **fields: Any) -> QueryAccepted:
    query = Query(query_id="q", tenant="demo", product="docs-search", hops=[Hop(service="ingest")])
    return QueryAccepted(query=query, text=text, **fields)


def _document(source: str, **fields: Any) -> DocumentAccepted:
    document = Document(tenant="demo", source=source, document_id="d", version=2, title="T", uri="https://x.io/d")
    return DocumentAccepted(document=document, **fields)


async def test_a_plain_question_of_a_public_product_is_public(consumers: Consumers) -> None:
    event = await _classify_query(consumers, _query("What does the nonlocal statement do?"))
    assert event.topic is topics.QUERY_CLASSIFIED
    assert (event.tier, event.message.tier) == (Tier.PUBLIC, privacy_pb2.TIER_PUBLIC)
    assert event.message.reason == privacy_pb2.TIER_REASON_PROVENANCE
    assert event.message.text.plain == "What does the nonlocal statement do?"
    assert event.message.policy_version == "7"


async def test_our_hop_is_added_to_those_before(consumers: Consumers) -> None:
    message = (await _classify_query(consumers, _query("Hello?"))).message
    assert [hop.service for hop in message.query.hops] == ["ingest", "classifier"]
    assert message.query.hops[1].received_at.ToDatetime(UTC) == NOW
    assert message.query.hops[1].finished_at.ToDatetime(UTC) == NOW + timedelta(milliseconds=3)


async def test_personal_data_raises_the_tier_and_a_secret_is_masked(consumers: Consumers) -> None:
    event = await _classify_query(consumers, _query("I am bob@acme.com, password=hunter2"))
    assert event.tier is Tier.TIER_2
    assert event.message.reason == privacy_pb2.TIER_REASON_DETECTED
    text = (await _opened(consumers, event.message)).reveal(event.message.text, Tier.TIER_2)
    assert text.reveal() == "I am bob@acme.com, password=[secret:password]"
    assert b"bob@acme.com" not in event.message.SerializeToString()
    assert {(f.rule, f.kind, f.count) for f in event.message.findings} == {
        ("email", privacy_pb2.FINDING_KIND_PERSONAL_DATA, 1),
        ("password", privacy_pb2.FINDING_KIND_SECRET, 1),
    }


async def test_a_secret_alone_is_masked_and_raises_nothing(consumers: Consumers) -> None:
    message = (await _classify_query(consumers, _query("use 4111 1111 1111 1111"))).message
    assert message.text.plain == "use [secret:credit-card]"
    assert message.tier == privacy_pb2.TIER_PUBLIC


async def test_what_the_door_sealed_is_opened_and_sealed_again_as_its_tier_asks(consumers: Consumers) -> None:
    nobody, somebody = _query(""), _query("")
    somebody.query.subject = "user-17"
    for message, plain in ((nobody, True), (somebody, False)):
        owner = owner_of_query(message.query)
        event = await _classify_query(
            consumers, await _sealed(consumers, message, owner=owner, text="password=hunter2?")
        )
        assert event.tier is Tier.PUBLIC
        assert is_sealed(event.message.text) is not plain
        text = (await _opened(consumers, event.message)).reveal(event.message.text, Tier.PUBLIC)
        assert text.reveal() == "password=[secret:password]"


async def test_a_document_is_opened_and_travels_on_as_its_tier_asks(consumers: Consumers) -> None:
    for source, sealed in (("docs", False), ("new", True)):
        message = _document(source)
        owner = owner_of_document(message.document)
        seal = await consumers.vault.seal_for(owner)
        message.document.CopyFrom(seal.seal_labels(message.document, Tier.TIER_2))
        event = await _classify_document(consumers, await _sealed(consumers, message, owner=owner, text="# Text"))
        assert is_sealed(event.message.markdown) is sealed
        assert (event.message.document.title == "") is sealed
        opener = await _opened(consumers, event.message)
        assert opener.reveal(event.message.markdown, event.tier).reveal() == "# Text"
        labels = opener.open_labels(event.message.document)
        assert (labels.title, labels.uri, labels.version) == ("T", "https://x.io/d", 2)


async def test_what_was_erased_is_not_classified(consumers: Consumers) -> None:
    asked, put = _query(""), _document("wiki")
    for message, owner in ((asked, owner_of_query(asked.query)), (put, owner_of_document(put.document))):
        await _sealed(consumers, message, owner=owner, text="gone")
    stranger = replace(consumers, vault=Vault(MemoryKeyring(), clock=time.monotonic))
    with pytest.raises(Erased):
        await _classify_query(stranger, asked)
    with pytest.raises(Erased):
        await _classify_document(stranger, put)


async def test_what_nobody_knows_is_the_strictest(consumers: Consumers) -> None:
    message = _query("Hello?")
    message.query.product = "unheard-of"
    classified = (await _classify_query(consumers, message)).message
    assert classified.tier == privacy_pb2.TIER_2
    assert classified.reason == privacy_pb2.TIER_REASON_UNKNOWN


async def test_a_tier_from_the_future_is_the_strictest(consumers: Consumers) -> None:
    message = _query("Hello?", declared_tier=cast("Any", 9))
    assert (await _classify_query(consumers, message)).tier is Tier.TIER_2


async def test_a_replay_makes_the_same_event_again(consumers: Consumers) -> None:
    first, second = [await _classify_query(consumers, _query("Hello?")) for _ in range(2)]
    assert first == second


async def test_a_document_takes_the_tier_of_its_source(consumers: Consumers) -> None:
    event = await _classify_document(consumers, _document("wiki", markdown="# Text", declared_tier=1))
    assert event.topic is topics.DOCUMENT_CLASSIFIED
    assert (event.tier, event.message.tier) == (Tier.TIER_1, privacy_pb2.TIER_1)
    assert event.message.markdown.plain == "# Text"
    assert event.message.document.version == 2


async def test_a_documents_title_and_address_are_masked_and_looked_into(consumers: Consumers) -> None:
    message = _document("docs", markdown="Text")
    message.document.title = "Bill for bob@acme.com, card 4111111111111111"
    message.document.uri = "https://bob:s3cr3t@acme.com/bill"
    event = await _classify_document(consumers, message)
    assert event.tier is Tier.TIER_2
    assert b"acme.com" not in event.message.SerializeToString()
    document = (await _opened(consumers, event.message)).open_labels(event.message.document)
    assert document.title == "Bill for bob@acme.com, card [secret:credit-card]"
    assert document.uri == "https://bob:[secret:url-password]@acme.com/bill"


@pytest.mark.parametrize(("source", "tier"), [("wiki", Tier.TIER_1), ("docs", Tier.PUBLIC), ("new", Tier.TIER_2)])
async def test_a_deletion_passes_with_its_sources_tier(consumers: Consumers, source: str, tier: Tier) -> None:
    event = await _classify_document(consumers, _document(source, deletion=Deletion()))
    assert event.message.WhichOneof("change") == "deletion"
    assert (event.tier, event.message.tier) == (tier, int(tier))
    assert event.message.document.document_id == "d"


async def test_a_deletion_is_never_below_what_was_declared(consumers: Consumers) -> None:
    event = await _classify_document(consumers, _document("docs", deletion=Deletion(), declared_tier=3))
    assert event.tier is Tier.TIER_2


async def test_a_document_event_without_a_change_is_rejected(consumers: Consumers) -> None:
    with pytest.raises(Rejected, match="change: missing"):
        await _classify_document(consumers, _document("docs"))


async def test_classify_answers_as_the_pipeline_would(inspector: Inspector) -> None:
    request = ClassifyRequest(tenant="demo", text="bob@acme.com pwd=hunter2", source="docs", product="docs-search")
    response = await PrivacyServicer(POLICY, inspector).Classify(request, cast("Any", None))
    assert (response.tier, response.reason) == (privacy_pb2.TIER_2, privacy_pb2.TIER_REASON_DETECTED)
    assert response.masked_text == "bob@acme.com pwd=[secret:password]"
    assert response.policy_version == "7"


async def test_classify_takes_the_stricter_of_product_and_source(inspector: Inspector) -> None:
    request = ClassifyRequest(tenant="demo", text="Hello", source="docs", product="crm")
    response = await PrivacyServicer(POLICY, inspector).Classify(request, cast("Any", None))
    assert (response.tier, response.reason) == (privacy_pb2.TIER_2, privacy_pb2.TIER_REASON_PROVENANCE)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (ClassifyRequest(), ["tenant: missing", "text: empty"]),
        (ClassifyRequest(tenant="demo"), ["text: empty"]),
        (ClassifyRequest(tenant="demo", text="é" * 524_289), ["text: too_large"]),
    ],
)
async def test_classify_names_every_wrong_field(
    inspector: Inspector, request_: ClassifyRequest, fields: list[str]
) -> None:
    with pytest.raises(Rejected) as error:
        await PrivacyServicer(POLICY, inspector).Classify(request_, cast("Any", None))
    assert [str(violation) for violation in error.value.violations] == fields


async def test_a_mebibyte_is_not_too_much(inspector: Inspector) -> None:
    request = ClassifyRequest(tenant="demo", text="word " * 209_715)
    response = await PrivacyServicer(POLICY, inspector).Classify(request, cast("Any", None))
    assert len(response.masked_text) == 1_048_575
