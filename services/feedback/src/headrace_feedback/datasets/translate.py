"""Between the wire and the domain. Whatever is wrong with a request is found here, all of it at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.privacy_pb2 import Purpose as WirePurpose
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Reason, Rejected, Violation

from headrace_feedback.datasets.shelf import Stored
from headrace_feedback.datasets.snapshots import (
    MOST_ROWS,
    NEAR_DUPLICATES,
    ROWS,
    TEST_SHARE,
    Card,
    Excluded,
    Order,
    Snapshot,
    Split,
    State,
    Wanted,
)
from headrace_feedback.datasets.tracing import Asked, Holder, Kind, Trace
from headrace_feedback.interaction import Versioned
from headrace_feedback.opening import OpenPassage
from headrace_feedback.translate import SOURCES, SUBJECT_CHARACTERS, TENANT
from headrace_feedback.uses import Span

NAME = re.compile(r"[a-z0-9_-]{1,64}")
#: A dataset as a person names it: an id, the first digits of one, or a series.
REFERENCE = NAME
PURPOSES = frozenset(int(one) for one in (Purpose.EVALUATE, Purpose.TRAIN, Purpose.SHARE))
IMPORTED = 10_000
#: Of an imported row, in characters: a question as long as one may be asked, and an answer as a correction may be.
QUESTION, ANSWER, FACT = 8_000, 8_000, 1_000
FACTS, DOCUMENTS = 32, 32
ROW_ID = re.compile(r"[\w.:@+~=/-]{1,128}", re.ASCII)
#: So many rows are named when many are wrong.
_MOST_VIOLATIONS = 100
_LISTS = ("kinds", "sources", "products", "document_sources")


def read_build(request: datasets_pb2.BuildDatasetRequest, *, hidden: Callable[[str], str]) -> Order:
    """Reads what is to be built. hidden: what is kept in a subject's place. Raises Rejected with each wrong field."""
    violations = [*check_series(request.tenant, request.name), *_check_query(request.query)]
    if violations:
        raise Rejected(*violations)
    return Order(request.tenant, request.name, _wanted(request.query, hidden), request.seed)


def _wanted(query: DatasetQuery, hidden: Callable[[str], str]) -> Wanted:
    return Wanted(
        purpose=Purpose(query.purpose),
        span=Span(_moment(query, "since"), _moment(query, "until")),
        kinds=frozenset(query.kinds),
        sources=frozenset(query.sources),
        products=frozenset(query.products),
        max_tier=Tier.of(query.max_tier) if query.max_tier else Tier.TIER_2,
        scores=tuple((bound.evaluator, bound.least) for bound in query.scores),
        approved_only=query.approved_only,
        corrected_only=query.corrected_only,
        near_duplicates=query.near_duplicates or NEAR_DUPLICATES,
        most_a_kind=query.most_a_kind,
        limit=query.limit or ROWS,
        test_share=query.test_share if query.HasField("test_share") else TEST_SHARE,
        without_subjects=frozenset(query.without_subjects),
        document_sources=tuple(dict.fromkeys(query.document_sources)),
        documents_only=query.documents_only,
        kind_stated_only=query.kind_stated_only,
        record=_record(query, hidden),
    )


def _record(query: DatasetQuery, hidden: Callable[[str], str]) -> bytes:
    """The query as it is kept: who was left out is not named again."""
    kept = DatasetQuery()
    kept.CopyFrom(query)
    kept.ClearField("without_subjects")
    kept.without_subjects.extend(sorted(hidden(subject) for subject in set(query.without_subjects)))
    return kept.SerializeToString(deterministic=True)


def check_series(tenant: str, name: str) -> Iterator[Violation]:
    """Finds what is wrong with whose and which."""
    yield from check_tenant(tenant)
    if not name:
        yield Violation("name", "missing", "Name the series of snapshots.")
    elif not NAME.fullmatch(name):
        yield Violation("name", "malformed", "A name has 1 to 64 of a-z, 0-9, _ and -.")


def check_tenant(tenant: str) -> Iterator[Violation]:
    """Finds what is wrong with whose."""
    if not tenant:
        yield Violation("tenant", "missing", "Say whose.")
    elif not TENANT.fullmatch(tenant):
        yield Violation("tenant", "malformed", "A tenant is 1 to 64 of a-z, 0-9, _ and -.")


def _check_query(query: DatasetQuery) -> Iterator[Violation]:
    if not query.purpose:
        yield Violation("query.purpose", "missing", "Say what for: evaluate, train or share.")
    elif query.purpose not in PURPOSES:
        yield Violation("query.purpose", "unknown_value", "A dataset is to evaluate, to train or to share.")
    if query.max_tier and query.max_tier not in WireTier.values():
        yield Violation("query.max_tier", "unknown_value", "PUBLIC, TIER_1 or TIER_2.")
    for field in ("since", "until"):
        if not _is_moment(query, field):
            yield Violation(f"query.{field}", "unknown_value", "The time lies outside the years 1 to 9999.")
    yield from _check_lists(query)
    yield from _check_numbers(query)


def _check_lists(query: DatasetQuery) -> Iterator[Violation]:
    for field in _LISTS:
        names: Sequence[str] = getattr(query, field)
        if len(names) > SOURCES:
            yield Violation(f"query.{field}", "out_of_range", f"At most {SOURCES}.")
        if any(not 0 < len(name) <= SUBJECT_CHARACTERS or "\0" in name for name in names):
            yield Violation(f"query.{field}", "malformed", f"Each has 1 to {SUBJECT_CHARACTERS} characters, none NUL.")
    yield from _check_documents(query)
    if any(not 0 < len(name) <= SUBJECT_CHARACTERS for name in query.without_subjects):
        yield Violation("query.without_subjects", "malformed", f"Each has 1 to {SUBJECT_CHARACTERS} characters.")
    for place, bound in enumerate(query.scores):
        if not bound.evaluator or "\0" in bound.evaluator:
            yield Violation(f"query.scores[{place}].evaluator", "missing", "Which evaluator?")
        if not math.isfinite(bound.least):
            yield Violation(f"query.scores[{place}].least", "out_of_range", "A number.")


def _check_documents(query: DatasetQuery) -> Iterator[Violation]:
    if query.documents_only and not query.document_sources:
        yield Violation("query.document_sources", "missing", "Documents alone: of which sources?")
    if query.document_sources and query.purpose == WirePurpose.PURPOSE_EVALUATE:
        yield Violation("query.document_sources", "unsupported", "A document asks nothing: build it to train or share.")
    if not all(map(NAME.fullmatch, query.document_sources)):
        yield Violation("query.document_sources", "malformed", "A source has 1 to 64 of a-z, 0-9, _ and -.")


def _check_numbers(query: DatasetQuery) -> Iterator[Violation]:
    if not 0 <= query.near_duplicates < math.inf:
        yield Violation("query.near_duplicates", "out_of_range", "0 to 1; above 1 nothing is dropped.")
    if query.limit > MOST_ROWS:
        yield Violation("query.limit", "out_of_range", f"At most {MOST_ROWS:,} rows.")
    if query.HasField("test_share"):
        yield from check_share(query.test_share, "query.test_share")


def check_share(share: float, field: str) -> Iterator[Violation]:
    """Finds what is wrong with a share of groups."""
    if not 0 <= share <= 0.9:
        yield Violation(field, "out_of_range", "0 to .9: something must be left to learn from.")


def read_reference(tenant: str, reference: str, *, field: str = "dataset") -> str:
    """Reads which dataset is meant. Raises Rejected with each wrong field."""
    violations = list(check_tenant(tenant))
    if not reference:
        violations.append(Violation(field, "missing", "An id, the first 8 or more of its digits, or a name."))
    elif not REFERENCE.fullmatch(reference):
        violations.append(Violation(field, "malformed", "An id, the first 8 or more of its digits, or a name."))
    if violations:
        raise Rejected(*violations)
    return reference


def read_traced(request: datasets_pb2.TraceRowsRequest) -> Asked:
    """Reads of what somebody asks. Raises Rejected with each wrong field."""
    kind: Kind | None = request.WhichOneof("what")
    violations = list(check_tenant(request.tenant))
    if kind is None:
        violations.append(Violation("what", "missing", "A dataset, source, document, subject, query or model version."))
    elif not _TRACED[kind](getattr(request, kind)):
        violations.append(Violation(kind, _NOT_TRACED.get(kind, "malformed"), _TRACED_AS[kind]))
    if violations or kind is None:
        raise Rejected(*violations)
    return Asked(kind, getattr(request, kind))


def _is_source(name: str) -> bool:
    return NAME.fullmatch(name.removeprefix("dataset:")) is not None


def _is_document(name: str) -> bool:
    source, slash, document_id = name.partition("/")
    return _is_source(source) and bool(slash) and 0 < len(document_id) <= 512 and "\0" not in document_id


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _is_name(name: str) -> bool:
    return 0 < len(name) <= SUBJECT_CHARACTERS and "\0" not in name


_TRACED: Mapping[Kind, Callable[[str], bool]] = {
    "dataset": lambda name: REFERENCE.fullmatch(name) is not None,
    "source": _is_source,
    "document": _is_document,
    "subject": _is_name,
    "query_id": _is_uuid,
    "model_version": _is_name,
}
_TRACED_AS: Mapping[Kind, str] = {
    "dataset": "An id, the first 8 or more of its digits, or a name.",
    "source": "A source has 1 to 64 of a-z, 0-9, _ and -.",
    "document": "As source/document.",
    "subject": f"It has 1 to {SUBJECT_CHARACTERS} characters, none NUL.",
    "query_id": "An interaction's id is a UUID.",
    "model_version": f"It has 1 to {SUBJECT_CHARACTERS} characters, none NUL.",
}
_NOT_TRACED: Mapping[Kind, Reason] = {"query_id": "not_a_uuid"}


def to_traced(trace: Trace) -> datasets_pb2.TraceRowsResponse:
    """Writes what is known of something: ids and counts."""
    return datasets_pb2.TraceRowsResponse(
        datasets=map(_to_holder, trace.holders),
        answers=trace.answers.count,
        query_ids=map(str, trace.answers.query_ids),
        documents=trace.documents,
    )


def _to_holder(one: Holder) -> datasets_pb2.TracedDataset:
    snapshot = one.snapshot
    return datasets_pb2.TracedDataset(
        dataset_id=snapshot.dataset_id,
        name=snapshot.name,
        state=datasets_pb2.DatasetState.ValueType(int(snapshot.state)),
        ended_by=snapshot.ended_by,
        rows=one.rows,
        row_ids=one.row_ids,
        grants=snapshot.grants,
        tier=_wire_tier(snapshot.tier),
    )


def check_import(request: datasets_pb2.ImportDatasetRequest) -> None:
    """Raises Rejected with each wrong field and row; of many, the first."""
    violations = [*check_series(request.tenant, request.name)]
    if request.declared_tier and request.declared_tier not in WireTier.values():
        violations.append(Violation("declared_tier", "unknown_value", "PUBLIC, TIER_1 or TIER_2."))
    if request.HasField("test_share"):
        violations += check_share(request.test_share, "test_share")
    if not request.rows:
        violations.append(Violation("rows", "missing", "At least one row."))
    violations += _check_rows(request.rows)
    if violations:
        raise Rejected(*violations[:_MOST_VIOLATIONS])


def _check_rows(rows: Sequence[datasets_pb2.DatasetRow]) -> Iterator[Violation]:
    seen: set[str] = set()
    for place, row in enumerate(rows):
        field = f"rows[{place}]"
        if row.row_id in seen and row.row_id:
            yield Violation(f"{field}.row_id", "malformed", "Another row has the same id.")
        seen.add(row.row_id)
        yield from _check_row(row, field)


def _check_row(row: datasets_pb2.DatasetRow, field: str) -> Iterator[Violation]:
    if row.row_id and not ROW_ID.fullmatch(row.row_id):
        yield Violation(f"{field}.row_id", "malformed", "1 to 128 letters, digits and . : @ + ~ = / - _.")
    yield from _check_text(row.question, f"{field}.question", QUESTION)
    if not row.answer and not row.key_facts and not row.unanswerable:
        yield Violation(f"{field}.answer", "missing", "An answer, facts, or that the sources don't say.")
    for text, name, most in ((row.answer, "answer", ANSWER), (row.kind, "kind", SUBJECT_CHARACTERS)):
        if len(text) > most or "\0" in text:
            yield Violation(f"{field}.{name}", "too_long", f"At most {most:,} characters, none of them NUL.")
    if row.split not in datasets_pb2.Split.values():
        yield Violation(f"{field}.split", "unknown_value", "SPLIT_TRAIN or SPLIT_TEST.")
    if row.tier and row.tier not in WireTier.values():
        yield Violation(f"{field}.tier", "unknown_value", "PUBLIC, TIER_1 or TIER_2.")
    yield from _check_facts(row, field)


def _check_text(text: str, field: str, most: int) -> Iterator[Violation]:
    if not text.strip():
        yield Violation(field, "empty", "It is empty.")
    if len(text) > most:
        yield Violation(field, "too_long", f"At most {most:,} characters.")
    if "\0" in text:
        yield Violation(field, "has_nul", "It holds a NUL character.")


def _check_facts(row: datasets_pb2.DatasetRow, field: str) -> Iterator[Violation]:
    if len(row.key_facts) > FACTS:
        yield Violation(f"{field}.key_facts", "out_of_range", f"At most {FACTS}.")
    for place, fact in enumerate(row.key_facts[:FACTS]):
        if len(fact) > FACT or not _is_pattern(fact):
            yield Violation(f"{field}.key_facts[{place}]", "malformed", f"A regular expression of {FACT} characters.")
    if len(row.documents) > DOCUMENTS:
        yield Violation(f"{field}.documents", "out_of_range", f"At most {DOCUMENTS}.")
    for place, document in enumerate(row.documents[:DOCUMENTS]):
        source, slash, name = document.partition("/")
        if not (NAME.fullmatch(source) and slash and 0 < len(name) <= 512) or "\0" in name:
            yield Violation(f"{field}.documents[{place}]", "malformed", "As source/document.")


def _is_pattern(fact: str) -> bool:
    try:
        re.compile(fact)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def to_dataset(one: Snapshot) -> datasets_pb2.Dataset:
    """Writes a snapshot."""
    return datasets_pb2.Dataset(
        dataset_id=one.dataset_id,
        tenant=one.tenant,
        name=one.name,
        query=DatasetQuery.FromString(one.record) if one.record else None,
        seed=one.seed,
        state=datasets_pb2.DatasetState.ValueType(int(one.state)),
        ended_by=one.ended_by,
        rows=one.rows,
        test_rows=one.test_rows,
        kinds=one.kinds,
        tiers=one.tiers,
        grants=one.grants,
        exclusions=map(_to_exclusion, one.exclusions),
        card=to_card(one.card),
        created_by=one.created_by,
        created_at=stamp(one.created_at),
        tier=_wire_tier(one.tier),
        policy_version=one.policy_version,
        data_sha256=one.data_sha256,
    )


def _to_exclusion(one: Excluded) -> datasets_pb2.DatasetExclusion:
    return datasets_pb2.DatasetExclusion(reason=one.reason, tier=_wire_tier(one.tier), rows=one.rows)


def to_card(card: Card) -> datasets_pb2.DatasetCard:
    """Writes what a snapshot is like."""
    return datasets_pb2.DatasetCard(
        vocabulary=card.vocabulary,
        words=card.words,
        question_characters=card.question_characters,
        answer_characters=card.answer_characters,
        corrected=card.corrected,
        conversations=card.conversations,
        documents=card.documents,
        earliest=stamp(card.earliest) if card.earliest else None,
        latest=stamp(card.latest) if card.latest else None,
        variants=card.variants,
        prompts=card.prompts,
        kinds_stated=card.kinds_stated,
    )


def read_card(card: datasets_pb2.DatasetCard) -> Card:
    """Reads back what a snapshot is like."""
    return Card(
        vocabulary=card.vocabulary,
        words=card.words,
        question_characters=card.question_characters,
        answer_characters=card.answer_characters,
        corrected=card.corrected,
        conversations=card.conversations,
        documents=card.documents,
        earliest=_moment(card, "earliest"),
        latest=_moment(card, "latest"),
        variants=dict(card.variants),
        prompts=dict(card.prompts),
        kinds_stated=card.kinds_stated,
    )


def to_row(
    content: datasets_pb2.DatasetRow, stored: Stored, *, grant_id: str, passages: Mapping[str, OpenPassage]
) -> datasets_pb2.DatasetRow:
    """Writes a row in the clear: its words, and what the snapshot says of it."""
    row = datasets_pb2.DatasetRow(
        row_id=stored.row_id,
        split=datasets_pb2.Split.ValueType(int(stored.split)),
        kind=stored.kind,
        tier=_wire_tier(stored.tier),
        question=content.question,
        answer=content.answer,
        corrected=stored.corrected,
        passages=[passage.text for passage in passages.values()],
        passage_ids=passages,
        passage_headings=[passage.headings for passage in passages.values()],
        key_facts=content.key_facts,
        documents=stored.cited,
        unanswerable=content.unanswerable,
        grant_id=grant_id,
        group=stored.group,
        text=content.text,
        kind_stated=stored.kind_stated,
    )
    if stored.variant.name:
        row.variant.CopyFrom(_to_versioned(stored.variant))
    if stored.prompt.name:
        row.prompt.CopyFrom(_to_versioned(stored.prompt))
    return row


def _to_versioned(one: Versioned) -> WireVersioned:
    return WireVersioned(name=one.name, version=one.version)


def to_built(one: Snapshot) -> datasets_pb2.DatasetBuilt:
    """Makes the event that a snapshot was built."""
    return datasets_pb2.DatasetBuilt(
        dataset_id=one.dataset_id,
        tenant=one.tenant,
        name=one.name,
        purpose=WirePurpose.ValueType(int(one.purpose)),
        tier=_wire_tier(one.tier),
        rows=one.rows,
        built_at=stamp(one.created_at),
    )


def to_ended(one: Snapshot) -> datasets_pb2.DatasetEnded:
    """Makes the event that a snapshot may no longer be used."""
    assert one.ended_at is not None
    return datasets_pb2.DatasetEnded(
        dataset_id=one.dataset_id,
        tenant=one.tenant,
        state=datasets_pb2.DatasetState.ValueType(int(one.state)),
        ended_by=one.ended_by,
        ended_at=stamp(one.ended_at),
    )


def read_split(split: int) -> Split:
    """Reads a side. Raises Rejected."""
    if split not in datasets_pb2.Split.values():
        raise Rejected(Violation("split", "unknown_value", "SPLIT_TRAIN or SPLIT_TEST; leave it out for both."))
    return Split(split)


def why_unusable(one: Snapshot) -> str:
    """What a person reads of a snapshot that has ended."""
    what = "a grant that it stands on has ended" if one.state is State.GRANT_ENDED else "something in it was erased"
    return f"dataset {one.dataset_id[:12]} is not usable: {what} ({one.ended_by}); build it anew"


def _wire_tier(tier: Tier) -> WireTier.ValueType:
    return WireTier.ValueType(tier.value)


def stamp(moment: datetime) -> Timestamp:
    """Writes a time."""
    written = Timestamp()
    written.FromDatetime(moment)
    return written


def _moment(message: Message, field: str) -> datetime | None:
    found: datetime | None = getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None
    return found


def _is_moment(message: Message, field: str) -> bool:
    try:
        _moment(message, field)
    except (ValueError, OverflowError):
        return False
    return True
