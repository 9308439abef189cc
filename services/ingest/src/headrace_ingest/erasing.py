"""Ingest's part in an erasure: how queries and documents stand, answers at rest, and the topics with text as it came.

A query that is erased stays as its id and the state ERASED, so that the same id is not taken in twice. A document goes
whole; tombstones of its address and of its file refuse it from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentSubmitted
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace.topics import Topic
from headrace_database import Connection, Database
from headrace_stream import Bus
from headrace_stream.erasing import Document, Eraser, Erasure, Expired, Kind, Names, Source, Subject, bury
from headrace_stream.trimming import BY_TRIMMING, NOT_TRIMMED, CannotTrim, Trimmer
from headrace_stream.worker import group_of

from headrace_ingest.domain import QueryState

QUERIES = "ingest.queries"
DOCUMENTS = "ingest.documents"
SUBMISSIONS = "ingest.submissions"
QUESTIONS_SENT = "topic query.submitted"
DOCUMENTS_SENT = "topic document.submitted"

HOW = {
    QUERIES: "answer and asker deleted and vacuumed",
    DOCUMENTS: "deleted and vacuumed",
    SUBMISSIONS: "deleted and vacuumed",
    QUESTIONS_SENT: BY_TRIMMING,
    DOCUMENTS_SENT: BY_TRIMMING,
}

_GROUNDED = (
    "q.accepted_at <= $2 AND EXISTS (SELECT FROM answer_documents a"
    " WHERE a.tenant = q.tenant AND a.query_id = q.query_id AND a.source = $3{document})"
)


def queries_meant_by(erasure: Erasure, names: Names) -> tuple[str, tuple[object, ...]]:
    """Returns which queries `q` an erasure means: SQL and its values, from $2 on."""
    match erasure.what:
        case Subject(name):
            return "q.subject = $3 AND q.accepted_at <= $2", (erasure.until, names.subject(name))
        case Source(source):
            return _GROUNDED.format(document=""), (erasure.until, source)
        case Document(source, document_id):
            return _GROUNDED.format(document=" AND a.document_id = $4"), (erasure.until, source, document_id)
        case Expired(tier, before):
            return f"q.tier = $3 AND q.accepted_at < $2 AND q.state <> {QueryState.ERASED:d}", (before, int(tier))


def documents_meant_by(erasure: Erasure) -> tuple[str, tuple[object, ...]]:
    """Returns which documents an erasure means: SQL and its values, from $2 on."""
    match erasure.what:
        case Source(source):
            return "source = $2", (source,)
        case Document(source, document_id):
            return "source = $2 AND document_id = $3", (source, document_id)
        case _:
            return "false", ()


@dataclass(frozen=True, slots=True)
class DoorHoldings:
    """See headrace_stream.erasing.Holdings."""

    database: Database
    trimmer: Trimmer
    how: dict[str, str] = field(default_factory=lambda: dict(HOW))

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove."""
        removed = {QUERIES: await self._remove_queries(connection, erasure, names)}
        if isinstance(erasure.what, Source | Document):
            removed |= await self._remove_documents(connection, erasure, names)
        return removed

    async def _remove_queries(self, connection: Connection, erasure: Erasure, names: Names) -> int:
        condition, values = queries_meant_by(erasure, names)
        if isinstance(erasure.what, Expired):
            delete = f"DELETE FROM queries q WHERE q.tenant = $1 AND {condition}"  # noqa: S608 - our own words
            return _rows(await connection.execute(delete, erasure.tenant, *values))
        emptied = await connection.fetch(
            f"""UPDATE queries q SET state = {QueryState.ERASED:d}, answer = NULL, answer_event_id = NULL,
                subject = NULL, trace_id = '', ended_at = coalesce(ended_at, now())
            WHERE q.tenant = $1 AND {condition} RETURNING q.query_id""",  # noqa: S608 - our own words
            erasure.tenant,
            *values,
        )
        ids = [row["query_id"] for row in emptied]
        await connection.execute(
            "DELETE FROM answer_documents WHERE tenant = $1 AND query_id = ANY($2)", erasure.tenant, ids
        )
        return len(ids)

    async def _remove_documents(self, connection: Connection, erasure: Erasure, names: Names) -> dict[str, int]:
        tenant = erasure.tenant
        condition, values = documents_meant_by(erasure)
        contents = await connection.fetch(
            f"SELECT content FROM document_contents WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
            tenant,
            *values,
        )
        documents = await connection.fetch(
            f"DELETE FROM documents WHERE tenant = $1 AND {condition} RETURNING source, document_id",  # noqa: S608
            tenant,
            *values,
        )
        buried = [(Kind.DOCUMENT, names.document(row["source"], row["document_id"])) for row in documents]
        buried += [(Kind.CONTENT, row["content"]) for row in contents]
        await bury(connection, tenant, buried, until=erasure.until)
        submissions = await connection.execute(
            f"DELETE FROM submissions WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
            tenant,
            *values,
        )
        if isinstance(erasure.what, Source):
            await connection.execute("DELETE FROM sources WHERE tenant = $1 AND name = $2", tenant, erasure.what.source)
        return {DOCUMENTS: len(documents), SUBMISSIONS: _rows(submissions)}

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""
        await self.database.rewrite("queries", "answer_documents", "outbox")
        match erasure.what:
            case Subject():
                return await self._trim(QUESTIONS_SENT, topics.QUERY_SUBMITTED)
            case Source() | Document():
                await self.database.rewrite("documents", "document_contents", "submissions", "sources")
                return await self._trim(DOCUMENTS_SENT, topics.DOCUMENT_SUBMITTED)
            case _:
                return {}

    async def _trim(self, store: str, topic: Topic[Any]) -> Mapping[str, int]:
        try:
            return {store: await self.trimmer.trim(topic, group_of("ingest", topic.name))}
        except CannotTrim:
            self.how[store] = NOT_TRIMMED
            return {}

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        condition, values = queries_meant_by(erasure, names)
        left = {
            QUERIES: await connection.fetchval(
                f"SELECT count(*) FROM queries q WHERE q.tenant = $1 AND {condition}",  # noqa: S608 - our own words
                erasure.tenant,
                *values,
            )
        }
        condition, values = documents_meant_by(erasure)
        for store, table in ((DOCUMENTS, "documents"), (SUBMISSIONS, "submissions")):
            left[store] = await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
                erasure.tenant,
                *values,
            )
        return left

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere."""
        until = erasure.requested_at.timestamp() * 1000

        def is_theirs(message: QuerySubmitted, timestamp: int) -> bool:
            return message.tenant == erasure.tenant and Subject(message.subject) == erasure.what and timestamp <= until

        def is_meant(message: DocumentSubmitted, timestamp: int) -> bool:
            meant = (Source(message.source), Document(message.source, message.document_id))
            return message.tenant == erasure.tenant and erasure.what in meant and timestamp <= until

        try:
            match erasure.what:
                case Subject():
                    return {QUESTIONS_SENT: await self.trimmer.left(topics.QUERY_SUBMITTED, is_theirs)}
                case Source() | Document():
                    return {DOCUMENTS_SENT: await self.trimmer.left(topics.DOCUMENT_SUBMITTED, is_meant)}
                case _:
                    return {}
        except CannotTrim:
            return {}


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])


def subscribe(bus: Bus, eraser: Eraser) -> None:
    """Wires ingest's part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))
