"""Queries and documents as ingest knows them."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from headrace_privacy import Tier


class QueryState(IntEnum):
    """How a query stands; the numbers of headrace.query.v1.QueryState."""

    OPEN = 1
    ANSWERED = 2
    DEAD_LETTERED = 3
    ERASED = 4


class DocumentState(IntEnum):
    """How a document stands; the numbers of headrace.document.v1.DocumentState."""

    ACCEPTED = 1
    INDEXED = 2
    DELETING = 3
    DELETED = 4
    DEAD_LETTERED = 5


class Outcome(IntEnum):
    """What became of a submission; the numbers of headrace.document.v1.Outcome."""

    REFUSED = 0
    SUBMITTED = 1
    INDEXED = 2
    UNCHANGED = 3
    DELETED = 4


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """What is known of one query. `answer` is an AnswerCompleted, serialized; None until there is one."""

    tenant: str
    query_id: UUID
    state: QueryState
    accepted_at: datetime
    trace_id: str
    answer: bytes | None
    answer_event_id: UUID | None


@dataclass(frozen=True, slots=True)
class DocumentAddress:
    """Which document."""

    tenant: str
    source: str
    document_id: str

    @property
    def key(self) -> str:
        """The key of its events, so that its changes stay in order."""
        return f"{self.tenant}/{self.source}/{self.document_id}"


@dataclass(frozen=True, slots=True)
class Change:
    """What a submission asks for. `labels` is a Document with its title and address sealed, serialized; empty for a
    deletion. `fingerprint` is that of a deletion when nothing is put."""

    address: DocumentAddress
    submission_id: UUID
    labels: bytes
    declared: Tier | None
    fingerprint: bytes

    @property
    def is_deletion(self) -> bool:
        """Whether the document is to be removed."""
        return self.fingerprint == DELETION


#: The fingerprint of a document that is not there.
DELETION = bytes(32)


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a change: the version that it made, and the tier that its source stands for."""

    version: int
    tier: Tier


@dataclass(frozen=True, slots=True)
class Submission:
    """How a submission stands. `violations` is a DocumentRefused, serialized, when it was refused."""

    address: DocumentAddress
    version: int
    outcome: Outcome
    tier: Tier | None
    chunks: int
    violations: bytes | None


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document of a source. `labels` as Change has them."""

    address: DocumentAddress
    version: int
    labels: bytes
    tier: Tier | None
    state: DocumentState
    chunks: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A source and what it holds, deletions not counted."""

    tenant: str
    name: str
    tier: Tier
    documents: int
    chunks: int
    changed_at: datetime


def fingerprint(key: bytes, content: bytes, *parts: str) -> bytes:
    """Returns 32 bytes that differ when the file or anything said about it does; without the key they tell nothing of
    a file that somebody guesses."""
    digest = hmac.new(key, content, hashlib.sha256)
    for part in parts:
        digest.update(b"\x00" + part.encode())
    return digest.digest()


def title_of(markdown: str, given: str, *, otherwise: str) -> str:
    """Returns the given title, else the document's first heading, else its id."""
    if given:
        return given
    headings = (line.lstrip("#").strip() for line in markdown.splitlines()[:50] if line.startswith("#"))
    return next((heading[:512] for heading in headings if heading), otherwise)
