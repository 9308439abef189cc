"""What was erased and would come again: a query, a document, a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from headrace.document.v1.document_pb2 import DocumentSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_privacy import Vault
from headrace_runtime.errors import Rejected, Violation
from headrace_stream.erasing import Kind, Names, names_of

from headrace_ingest.ports import Store, Unit


def erased(field: str, what: str) -> Rejected:
    """The refusal. It says no more than that."""
    return Rejected(Violation(field, "erased", f"This {what} was erased, and is not taken in again."))


def grounds_of(message: AnswerCompleted) -> set[tuple[str, str]]:
    """The documents (source, id) that the model had before it."""
    chunks = [*message.retrieved, *(citation.chunk for citation in message.citations)]
    return {(chunk.source, chunk.document_id) for chunk in chunks}


def erased_with(message: AnswerCompleted, names: Names) -> Sequence[tuple[Kind, bytes]]:
    """What an answer is erased with, beside whoever asked: each of its documents."""
    grounds = sorted(grounds_of(message))
    sources = sorted({source for source, _ in grounds})
    return [
        *((Kind.DOCUMENT, names.document(*document)) for document in grounds),
        *((Kind.SOURCE, names.source(source)) for source in sources),
    ]


def asked_at(message: AnswerCompleted) -> datetime | None:
    """When its question was taken in; None where nothing says so."""
    return message.query.accepted_at.ToDatetime(tzinfo=UTC) if message.query.HasField("accepted_at") else None


def names_of_put(message: DocumentSubmitted, names: Names) -> Sequence[tuple[Kind, bytes]]:
    """What a put is refused for: the same document, the same file, and the source, where it was sent before that was
    erased."""
    return [
        (Kind.DOCUMENT, names.document(message.source, message.document_id)),
        (Kind.CONTENT, names.content(message.content.data)),
        (Kind.SOURCE, names.source(message.source)),
    ]


async def refuse_erased_document(message: DocumentSubmitted, *, store: Store, vault: Vault, at: datetime) -> None:
    """Raises Rejected before anything of it is kept. at: when it was sent."""
    names = await names_of(vault, message.tenant)
    async with store.unit(tenant=message.tenant) as unit:
        await refuse_buried(unit, message, names, at=at)


async def refuse_buried(unit: Unit, message: DocumentSubmitted, names: Names, *, at: datetime) -> None:
    """As refuse_erased_document, in the transaction that would store it."""
    if await unit.is_buried(message.tenant, names_of_put(message, names), at=at):
        raise erased("document_id", "document")


async def refuse_erased_query(tenant: str, query_id: UUID, *, store: Store) -> None:
    """Raises Rejected for a query that was erased."""
    async with store.unit(tenant=tenant) as unit:
        if await unit.is_erased_query(tenant, query_id):
            raise erased("query_id", "query")
