"""What a submission must be. Every check names the field and never the value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from headrace_runtime.errors import Rejected, Violation

MAX_TEXT = 8_000
MAX_OPAQUE = 128
MAX_SOURCES = 32
MAX_DOCUMENT_ID = 512
MAX_TITLE = 512
MAX_URI = 2_048
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_MARKDOWN_BYTES = 1024 * 1024

#: What can be read. Markdown and text as they are, the others by a parser.
MEDIA_TYPES = {
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/html": ".html",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class QueryFields:
    """The fields of a query that are checked, whichever message they came in."""

    query_id: str
    tenant: str
    product: str
    text: str
    subject: str
    conversation_id: str
    sources: Sequence[str]


@dataclass(frozen=True, slots=True)
class DocumentFields:
    """The fields of a document that are checked. `content` is the file, None for a deletion."""

    submission_id: str
    tenant: str
    source: str
    document_id: str
    title: str
    uri: str
    media_type: str
    content: bytes | None


def check_query(fields: QueryFields, *, prefix: str = "") -> None:
    """Raises Rejected with everything that is wrong with a query; `prefix` leads the fields' names."""
    _raise(
        [
            *_uuid(f"{prefix}query_id", fields.query_id),
            *_name(f"{prefix}tenant", fields.tenant),
            *_name(f"{prefix}product", fields.product),
            *_text(f"{prefix}text", fields.text, at_most=MAX_TEXT),
            *_opaque(f"{prefix}subject", fields.subject),
            *_opaque(f"{prefix}conversation_id", fields.conversation_id),
            *_sources(f"{prefix}sources", fields.sources),
        ]
    )


def check_document(fields: DocumentFields) -> None:
    """Raises Rejected with everything that is wrong with a document."""
    _raise(
        [
            *_uuid("submission_id", fields.submission_id),
            *check_address(fields.tenant, fields.source, fields.document_id),
            *_opaque("title", fields.title, at_most=MAX_TITLE),
            *_opaque("uri", fields.uri, at_most=MAX_URI),
            *_content(fields),
        ]
    )


def check_address(tenant: str, source: str, document_id: str) -> list[Violation]:
    """Returns what is wrong with a document's address."""
    return [
        *_name("tenant", tenant),
        *_name("source", source),
        *_text("document_id", document_id, at_most=MAX_DOCUMENT_ID),
    ]


def check_tenant(tenant: str, *, query_id: str | None = None) -> None:
    """Raises Rejected for a tenant, or a query id, that cannot be one."""
    _raise([*_name("tenant", tenant), *(_uuid("query_id", query_id) if query_id is not None else ())])


def readable_name(value: str) -> str:
    """Returns the value if it is a name, else nothing: what stands where a name should can be a user's text."""
    return value if _NAME.fullmatch(value) else ""


def readable_document_id(value: str) -> str:
    """As readable_name, for a document's id."""
    return "" if any(_text("", value, at_most=MAX_DOCUMENT_ID)) else value


def check_page(tenant: str, source: str, token: str) -> None:
    """Raises Rejected for a page of documents that cannot be asked for."""
    _raise([*_name("tenant", tenant), *_name("source", source), *_opaque("page_token", token, at_most=MAX_DOCUMENT_ID)])


def check_markdown(markdown: str) -> None:
    """Raises Rejected for a document whose text is empty or too long for one event."""
    if not markdown.strip():
        raise Rejected(Violation("content.data", "empty", "The document has no text."))
    if len(markdown.encode()) > MAX_MARKDOWN_BYTES:
        raise Rejected(
            Violation("content.data", "too_large", f"Its text is longer than {MAX_MARKDOWN_BYTES} bytes; split it.")
        )


def _raise(violations: list[Violation]) -> None:
    if violations:
        raise Rejected(*violations)


def _uuid(field: str, value: str) -> Iterator[Violation]:
    if not value:
        yield Violation(field, "missing", "An id is required: a UUID.")
        return
    try:
        UUID(value)
    except ValueError:
        yield Violation(field, "not_a_uuid", "The id must be a UUID.")


def _name(field: str, value: str) -> Iterator[Violation]:
    if not value:
        yield Violation(field, "missing", "It is required.")
    elif len(value) > 64:
        yield Violation(field, "too_long", "At most 64 characters.")
    elif not _NAME.fullmatch(value):
        yield Violation(field, "malformed", "Only lower-case letters, digits, _ and - are allowed.")


def _text(field: str, value: str, *, at_most: int) -> Iterator[Violation]:
    if not value.strip():
        yield Violation(field, "empty" if value else "missing", f"It is required: 1 to {at_most} characters.")
    yield from _opaque(field, value, at_most=at_most)


def _opaque(field: str, value: str, *, at_most: int = MAX_OPAQUE) -> Iterator[Violation]:
    if len(value) > at_most:
        yield Violation(field, "too_long", f"At most {at_most} characters; it has {len(value)}.")
    if "\x00" in value:
        yield Violation(field, "has_nul", "The character NUL is not allowed.")


def _sources(field: str, values: Sequence[str]) -> Iterator[Violation]:
    if len(values) > MAX_SOURCES:
        yield Violation(field, "too_long", f"At most {MAX_SOURCES} sources; there are {len(values)}.")
    for place, value in enumerate(values[:MAX_SOURCES]):
        yield from _name(f"{field}[{place}]", value)


def _content(fields: DocumentFields) -> Iterator[Violation]:
    if fields.content is None:
        return
    if not fields.content:
        yield Violation("content.data", "empty", "The file is empty.")
    if len(fields.content) > MAX_FILE_BYTES:
        yield Violation("content.data", "too_large", f"At most {MAX_FILE_BYTES} bytes; it has {len(fields.content)}.")
    if fields.media_type not in MEDIA_TYPES:
        yield Violation("content.media_type", "unsupported", f"One of {', '.join(MEDIA_TYPES)}.")
