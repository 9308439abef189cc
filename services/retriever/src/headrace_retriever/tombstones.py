"""Keeps out what is erased and was still on its way."""

from __future__ import annotations

from datetime import UTC

from headrace.document.v1.document_pb2 import Document
from headrace_privacy import Vault
from headrace_stream import Unit
from headrace_stream.erasing import Kind, keep_out, names_of


async def keep_out_document(unit: Unit, vault: Vault, document: Document) -> None:
    """Raises Erased for a document, or a version of a source's, that is erased. For the transaction that stores it."""
    names = await names_of(vault, document.tenant)
    buried = [
        (Kind.DOCUMENT, names.document(document.source, document.document_id)),
        (Kind.SOURCE, names.source(document.source)),
    ]
    at = document.accepted_at.ToDatetime(tzinfo=UTC) if document.HasField("accepted_at") else None
    await keep_out(unit.connection, document.tenant, buried, at=at)
