"""What ingest needs from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from headrace_privacy import Tier
from headrace_stream import Delivery, Event
from headrace_stream.erasing import Kind

from headrace_ingest.domain import (
    Applied,
    Change,
    DocumentAddress,
    DocumentRecord,
    DocumentState,
    QueryRecord,
    QueryState,
    SourceRecord,
    Submission,
)


class Unit(Protocol):
    """One transaction, which sees one tenant."""

    def emit(self, *events: Event[Any]) -> None:
        """Has events published if the transaction commits."""

    async def accept_query(self, record: QueryRecord, *, product: str) -> bool:
        """Records a query; False when it was recorded before."""

    async def answer_query(self, tenant: str, query_id: UUID, *, answer: bytes, event_id: UUID, tier: Tier) -> bool:
        """Ends a query with its answer. False when it had one, or was erased: the first wins."""

    async def bury_query(self, tenant: str, query_id: UUID, *, state: QueryState) -> bool:
        """Ends a query without an answer: DEAD_LETTERED or ERASED. False as answer_query."""

    async def apply(self, change: Change, *, now: datetime) -> Applied | None:
        """Makes the document's next version and notes the submission; None when nothing changes."""

    async def refuse(self, submission_id: UUID, address: DocumentAddress, *, violations: bytes, now: datetime) -> None:
        """Notes that a submission was refused; `violations` is the DocumentRefused, serialized."""

    async def index(self, address: DocumentAddress, version: int, *, tier: Tier, chunks: int, now: datetime) -> None:
        """Notes that every search sees a version; an older one than the latest changes nothing."""

    async def note_asker(self, tenant: str, query_id: UUID, subject: bytes) -> None:
        """Notes whose a query is, by keyed hash."""

    async def is_erased_query(self, tenant: str, query_id: UUID) -> bool:
        """Says whether this query was taken in before, and erased."""

    async def is_buried(self, tenant: str, names: Sequence[tuple[Kind, bytes]], *, at: datetime | None = None) -> bool:
        """Says whether anything of these was erased, for good or after `at`; no erasure begins until the end."""

    async def note_grounds(self, tenant: str, query_id: UUID, documents: Collection[tuple[str, str]]) -> None:
        """Notes the documents (source, id) that an answer was made of."""

    async def note_content(self, address: DocumentAddress, content: bytes) -> None:
        """Notes by keyed hash what file a document was put as."""

    async def bury_document(self, address: DocumentAddress, *, state: DocumentState, now: datetime) -> None:
        """Notes that nothing more comes of a document under way: DEAD_LETTERED, or DELETED where it was erased."""


class Store(Protocol):
    """Where queries and documents are kept."""

    def once(self, delivery: Delivery[Any], *, tenant: str) -> AbstractAsyncContextManager[Unit | None]:
        """Opens the transaction in which a delivery takes effect on a tenant's rows; None when it did before."""

    def unit(self, *, tenant: str) -> AbstractAsyncContextManager[Unit]:
        """Opens a transaction on a tenant's rows that no delivery caused."""

    async def query(self, tenant: str, query_id: UUID) -> QueryRecord | None:
        """Finds a query of this tenant."""

    def queries(self, tenant: str) -> AsyncIterator[list[QueryRecord]]:
        """Reads all queries of a tenant, or of all when it is empty, some at a time, without their answers."""

    async def submission(self, tenant: str, submission_id: UUID) -> Submission | None:
        """Finds out how a submission stands."""

    async def document(self, address: DocumentAddress) -> DocumentRecord | None:
        """Finds a document, a deleted one too."""

    async def sources(self, tenant: str) -> list[SourceRecord]:
        """Reads a tenant's sources by name."""

    async def documents(self, tenant: str, source: str, *, after: str, limit: int) -> list[DocumentRecord]:
        """Reads a source's documents by id, after one, deleted ones left out."""


class Parser(Protocol):
    """Reads files."""

    async def markdown(self, content: bytes, media_type: str) -> str:
        """Returns a file's text as Markdown. Raises Rejected when it cannot be read."""


Clock = Callable[[], datetime]
Publish = Callable[..., Awaitable[None]]
