"""Whose data a record is: the owner's key seals it, and destroying that key erases it wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from headrace.document.v1.document_pb2 import Document
from headrace.query.v1.query_pb2 import Query


class OwnerKind(IntEnum):
    """The numbers are those of headrace.privacy.v1.KeyOwnerKind."""

    SUBJECT = 1
    DOCUMENT = 2
    ANONYMOUS = 3
    INDEX = 4


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner of data within a tenant; see headrace.privacy.v1.KeyOwner."""

    tenant: str
    kind: OwnerKind
    name: str

    def __repr__(self) -> str:
        """Without the name: a subject's may be an address that somebody took for an id."""
        return f"<owner {self.kind.name.lower()} of {self.tenant}>"

    @classmethod
    def subject(cls, tenant: str, subject: str) -> Owner:
        """An end user."""
        return cls(tenant, OwnerKind.SUBJECT, subject)

    @classmethod
    def document(cls, tenant: str, source: str, document_id: str) -> Owner:
        """A document. A source's name holds no slash, so the name is unambiguous."""
        return cls(tenant, OwnerKind.DOCUMENT, f"{source}/{document_id}")

    @classmethod
    def anonymous(cls, tenant: str, moment: datetime) -> Owner:
        """All who asked on the UTC day of `moment` without naming an end user."""
        return cls(tenant, OwnerKind.ANONYMOUS, moment.astimezone(UTC).date().isoformat())

    @classmethod
    def index(cls, tenant: str) -> Owner:
        """The tenant's search index."""
        return cls(tenant, OwnerKind.INDEX, "")


def owner_of_query(query: Query) -> Owner:
    """Returns whose a query and its answer are: the end user's, or the day's where nobody was named."""
    if query.subject:
        return Owner.subject(query.tenant, query.subject)
    return Owner.anonymous(query.tenant, query.accepted_at.ToDatetime(tzinfo=UTC))


def owner_of_document(document: Document) -> Owner:
    """Returns whose a document's text, chunks and vectors are: its own."""
    return Owner.document(document.tenant, document.source, document.document_id)
