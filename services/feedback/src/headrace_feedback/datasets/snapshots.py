"""What a snapshot is: an immutable, ordered set of rows, named by the hash of its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Literal

from headrace_privacy import Tier
from headrace_privacy.policy import Purpose

from headrace_feedback.interaction import Versioned
from headrace_feedback.uses import Span

NONE = Versioned("", "")
#: When what nobody answered was answered.
NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
#: The kind of rows of documents.
DOCUMENT = "document"
ALWAYS = Span()

#: Why something that was asked for is not in a snapshot.
Exclusion = Literal[
    "denied_by_policy",
    "no_grant",
    "other_source",
    "other_product",
    "over_tier",
    "erased",
    "score",
    "not_approved",
    "refusal",
    "near_duplicate",
    "over_limit",
    "other_kind",
    "stale",
    "named",
    "kind_not_stated",
]


class State(IntEnum):
    """Whether a snapshot may be used; the numbers of headrace.feedback.v1.DatasetState."""

    USABLE = 1
    GRANT_ENDED = 2
    ERASED = 3


class Split(IntEnum):
    """Which side a row is on; the numbers of headrace.feedback.v1.Split."""

    UNSPECIFIED = 0
    TRAIN = 1
    TEST = 2


#: Shares and thresholds where a query says nothing.
TEST_SHARE = 0.2
NEAR_DUPLICATES = 0.8
ROWS = 100_000
MOST_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes into a snapshot; see headrace.feedback.v1.DatasetQuery. Empty sets allow all.

    near_duplicates: above 1 nothing is dropped. most_a_kind: 0 is no limit. document_sources: whose passages are rows
    too, or with documents_only alone. record: the query as it is kept, which names no subject.
    """

    purpose: Purpose
    span: Span = ALWAYS
    kinds: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    max_tier: Tier = Tier.TIER_2
    scores: tuple[tuple[str, float], ...] = ()
    approved_only: bool = False
    corrected_only: bool = False
    near_duplicates: float = NEAR_DUPLICATES
    most_a_kind: int = 0
    limit: int = ROWS
    test_share: float = TEST_SHARE
    without_subjects: frozenset[str] = field(default=frozenset(), repr=False)
    document_sources: tuple[str, ...] = ()
    documents_only: bool = False
    kind_stated_only: bool = False
    record: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Order:
    """A snapshot as it is asked for."""

    tenant: str
    name: str
    wanted: Wanted
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """What a snapshot says of a row: names, numbers and keyed hashes, no word of it.

    sources, documents: all that it was made of, "source/document"; cited: of these what it names. content_hash: keyed,
    32 bytes. asked_at: when its question came. subject: the keyed hash of whose it is, for erasures; empty where nobody
    was named. chunks: the passages that the answer was made of. is_passage: it is one itself, of a document, and
    nobody asked or answered anything. kind_stated: people said its kind, not what recognises kinds.
    """

    row_id: str
    kind: str
    tier: Tier
    content_hash: bytes
    completed_at: datetime
    asked_at: datetime
    sources: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    cited: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()
    grant_id: str = ""
    corrected: bool = False
    variant: Versioned = NONE
    prompt: Versioned = NONE
    conversation: bytes = b""
    subject: bytes = b""
    is_passage: bool = False
    question_characters: int = 0
    answer_characters: int = 0
    split: Split = Split.UNSPECIFIED
    group: str = ""
    kind_stated: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """What a snapshot is like, in numbers; see headrace.feedback.v1.DatasetCard."""

    vocabulary: int = 0
    words: int = 0
    question_characters: float = 0.0
    answer_characters: float = 0.0
    corrected: int = 0
    conversations: int = 0
    documents: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    variants: Mapping[str, int] = field(default_factory=dict)
    prompts: Mapping[str, int] = field(default_factory=dict)
    kinds_stated: int = 0


@dataclass(frozen=True, slots=True)
class Excluded:
    """What was left out for one reason, and of which tier."""

    reason: Exclusion
    tier: Tier
    rows: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as the books have it. record: the query; empty for rows that were imported."""

    dataset_id: str
    tenant: str
    name: str
    purpose: Purpose
    seed: int
    rows: int
    test_rows: int
    tier: Tier
    kinds: Mapping[str, int]
    tiers: Mapping[str, int]
    grants: tuple[str, ...]
    exclusions: tuple[Excluded, ...]
    card: Card
    policy_version: str
    created_by: str
    created_at: datetime
    record: bytes = field(default=b"", repr=False)
    state: State = State.USABLE
    ended_by: str = ""
    ended_at: datetime | None = None
    data_sha256: str = ""
