"""Between the contracts and the domain. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from headrace.document.v1.document_pb2 import Deletion, Document, DocumentAccepted, DocumentClassified
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.service_pb2 import ClassifyRequest, ClassifyResponse
from headrace.query.v1.events_pb2 import QueryAccepted, QueryClassified
from headrace.query.v1.query_pb2 import Hop
from headrace_privacy import Opener, Seal, Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_classifier.submission import Provenance, Submission
from headrace_classifier.verdict import Decision, Finding, FindingKind, Verdict

#: As the contract has it.
MAX_TEXT_BYTES = 1_048_576


def declared(number: int) -> Tier | None:
    """Reads a declared tier: unspecified says nothing, and what this version does not know is the strictest."""
    return None if number == privacy_pb2.TIER_UNSPECIFIED else Tier.of(number)


def query_submission(event: QueryAccepted, opener: Opener) -> Submission:
    """What is classified of a query. Raises Erased."""
    provenance = Provenance(
        tenant=event.query.tenant, product=event.query.product, declared=declared(event.declared_tier)
    )
    # In the clear from a version of ingest before sealing, for as long as the topic keeps such events.
    raw = opener.reveal(event.raw, Tier.TIER_2).reveal() if event.HasField("raw") else event.text
    return Submission(provenance, raw)


def query_classified(
    event: QueryAccepted, verdict: Verdict, seal: Seal, *, received_at: datetime, finished_at: datetime
) -> QueryClassified:
    """The query as everybody after us sees it: masked, tiered, sealed, our share of its time noted."""
    query = type(event.query)()
    query.CopyFrom(event.query)
    hop = query.hops.add()
    hop.CopyFrom(_hop(received_at, finished_at))
    return QueryClassified(
        query=query,
        text=seal.protect(verdict.text),
        tier=_tier(verdict.tier),
        reason=_reason(verdict),
        findings=_findings(verdict.findings),
        policy_version=verdict.policy_version,
    )


def document_provenance(event: DocumentAccepted) -> Provenance:
    """Where a document comes from."""
    return Provenance(
        tenant=event.document.tenant, source=event.document.source, declared=declared(event.declared_tier)
    )


def document_submission(event: DocumentAccepted, opener: Opener) -> Submission:
    """What is classified of a document: its text and, since they travel on into citations, its title and address.

    Raises Erased.
    """
    raw = opener.reveal(event.raw, Tier.TIER_2).reveal() if event.HasField("raw") else event.markdown
    document = opener.open_labels(event.document)
    return Submission(document_provenance(event), raw, (document.title, document.uri))


def document_classified(event: DocumentAccepted, verdict: Verdict, seal: Seal) -> DocumentClassified:
    """The document as everybody after us sees it: masked, tiered and, where the tier asks for it, sealed."""
    title, uri = verdict.labels
    document = _without_labels(event.document)
    document.title, document.uri = title.reveal(), uri.reveal()
    return DocumentClassified(
        document=seal.seal_labels(document, verdict.tier),
        tier=_tier(verdict.tier),
        reason=_reason(verdict),
        findings=_findings(verdict.findings),
        markdown=seal.protect(verdict.text),
        policy_version=verdict.policy_version,
    )


def document_deleted(event: DocumentAccepted, decision: Decision, *, policy_version: str) -> DocumentClassified:
    """A deletion has no text: its title and address are left out rather than passed on unmasked."""
    return DocumentClassified(
        document=_without_labels(event.document),
        tier=_tier(decision.tier),
        reason=_reason(decision),
        deletion=Deletion(),
        policy_version=policy_version,
    )


def _without_labels(document: Document) -> Document:
    bare = Document()
    bare.CopyFrom(document)
    for label in ("title", "uri", "sealed_labels"):
        bare.ClearField(label)
    return bare


def request_submission(request: ClassifyRequest) -> Submission:
    """What a caller wants classified. Raises Rejected with every field that is wrong."""
    violations = list(_violations(request))
    if violations:
        raise Rejected(*violations)
    provenance = Provenance(request.tenant, request.product, request.source, declared(request.declared_tier))
    return Submission(provenance, request.text)


def _violations(request: ClassifyRequest) -> Iterable[Violation]:
    if not request.tenant:
        yield Violation("tenant", "missing", "Say whose text it is.")
    if not request.text:
        yield Violation("text", "empty", "There is no text to classify.")
    if len(request.text.encode()) > MAX_TEXT_BYTES:
        yield Violation("text", "too_large", f"A text may have at most {MAX_TEXT_BYTES} bytes of UTF-8.")


def classify_response(verdict: Verdict) -> ClassifyResponse:
    """The verdict for a caller."""
    return ClassifyResponse(
        tier=_tier(verdict.tier),
        reason=_reason(verdict),
        findings=_findings(verdict.findings),
        masked_text=verdict.text.reveal(),
        policy_version=verdict.policy_version,
    )


def _tier(tier: Tier) -> privacy_pb2.Tier.ValueType:
    return privacy_pb2.Tier.ValueType(tier.value)


def _reason(decision: Decision | Verdict) -> privacy_pb2.TierReason.ValueType:
    return privacy_pb2.TierReason.ValueType(decision.reason.value)


def _findings(findings: Iterable[Finding]) -> list[privacy_pb2.Finding]:
    return [privacy_pb2.Finding(rule=f.rule, kind=_kind(f.kind), count=f.count) for f in findings]


def _kind(kind: FindingKind) -> privacy_pb2.FindingKind.ValueType:
    return privacy_pb2.FindingKind.ValueType(kind.value)


def _hop(received_at: datetime, finished_at: datetime) -> Hop:
    hop = Hop(service="classifier")
    hop.received_at.FromDatetime(received_at)
    hop.finished_at.FromDatetime(finished_at)
    return hop
