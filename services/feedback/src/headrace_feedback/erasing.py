"""The log's part in an erasure.

An interaction goes whole, with its lineage and everybody's feedback on it: its text is sealed for whoever asked, so
nothing readable would be left of it. Of a document, every interaction that had it before its model goes too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from uuid import UUID

from headrace import topics
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database import Connection, Database
from headrace_privacy import Vault
from headrace_stream import Bus, Unit
from headrace_stream.erasing import (
    Document,
    Eraser,
    Erasure,
    Expired,
    Kind,
    Names,
    Source,
    Subject,
    bury,
    keep_out,
    names_of,
)
from headrace_stream.trimming import BY_TRIMMING, NOT_TRIMMED, CannotTrim, Trimmer
from headrace_stream.worker import group_of

from headrace_feedback.feedback import Feedback

INTERACTIONS = "feedback.interactions"
LINEAGE = "feedback.interaction_chunks"
JUDGEMENTS = "feedback.feedback"
SUBMITTED = "topic feedback.submitted"

HOW = {
    INTERACTIONS: "deleted and vacuumed",
    LINEAGE: "deleted and vacuumed",
    JUDGEMENTS: "deleted and vacuumed",
    SUBMITTED: BY_TRIMMING,
}

_OF_SUBJECT = "i.subject = $2 AND coalesce(i.accepted_at, i.completed_at) <= $3"
_OF_EXPIRED = "i.tier = $2 AND i.completed_at < $3"
_USING = (
    "coalesce(i.accepted_at, i.completed_at) <= $2 AND EXISTS (SELECT FROM interaction_chunks c"
    " WHERE c.tenant = i.tenant AND c.query_id = i.query_id AND c.source = $3{document})"
)
_OF_SOURCE = _USING.format(document="")
_OF_DOCUMENT = _USING.format(document=" AND c.document_id = $4")

#: Judgements that belong to no interaction that goes.
_JUDGED_BY = "subject = $2 AND recorded_at <= $3"
#: Words can be stricter than the answer that they are about, and end before it.
_JUDGED_BEFORE = "tier = $2 AND recorded_at < $3"


@dataclass(frozen=True, slots=True)
class Meant:
    """SQL conditions and their values, from $2 on: on an interaction `i`, and on a judgement by itself, if any."""

    interactions: str
    judgements: str
    values: tuple[object, ...] = field(repr=False)


def meant_by(erasure: Erasure) -> Meant:
    """Returns which rows an erasure means."""
    match erasure.what:
        case Subject(name):
            return Meant(_OF_SUBJECT, _JUDGED_BY, (name, erasure.until))
        case Source(source):
            return Meant(_OF_SOURCE, "", (erasure.until, source))
        case Document(source, document_id):
            return Meant(_OF_DOCUMENT, "", (erasure.until, source, document_id))
        case Expired(tier, before):
            return Meant(_OF_EXPIRED, _JUDGED_BEFORE, (int(tier), before))


class Part(Protocol):
    """What else of the log's schema goes: the tables of reviews, scores, runs, datasets."""

    @property
    def how(self) -> Mapping[str, str]:
        """See Holdings.how: every store of the part."""

    @property
    def tables(self) -> Sequence[str]:
        """The tables that are written anew once rows of theirs are gone."""

    async def remove(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> Mapping[str, int]:
        """See Holdings.remove. queries: the interactions that go now; what hangs on them goes too."""

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""


class Elsewhere(Protocol):
    """What goes that is in no table: files."""

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""

    async def left(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere."""


@dataclass(frozen=True, slots=True)
class LogHoldings:
    """See headrace_stream.erasing.Holdings. parts: what hangs on the log, in tables of its own, and elsewhere."""

    database: Database
    trimmer: Trimmer
    parts: tuple[Part, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    own: dict[str, str] = field(default_factory=lambda: dict(HOW))

    @property
    def how(self) -> Mapping[str, str]:
        """See Holdings.how."""
        return {**self.own, **{store: how for part in self.parts for store, how in part.how.items()}}

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove. The queries' ids are buried, so that late feedback on them ends as erased too."""
        tenant, meant = erasure.tenant, meant_by(erasure)
        rows = await connection.fetch(
            f"SELECT i.query_id FROM interactions i WHERE i.tenant = $1 AND {meant.interactions}",  # noqa: S608 - our own words
            tenant,
            *meant.values,
        )
        ids = [row["query_id"] for row in rows]
        if not isinstance(erasure.what, Expired):
            await bury(connection, tenant, [(Kind.QUERY, names.query(each)) for each in ids], until=erasure.until)
        by_id = "WHERE tenant = $1 AND query_id = ANY($2)"
        removed = await self._remove_parts(connection, erasure, names, queries=ids)
        removed |= {
            JUDGEMENTS: await deleted(connection, f"DELETE FROM feedback {by_id}", tenant, ids),  # noqa: S608
            LINEAGE: await deleted(connection, f"DELETE FROM interaction_chunks {by_id}", tenant, ids),  # noqa: S608
            INTERACTIONS: await deleted(connection, f"DELETE FROM interactions {by_id}", tenant, ids),  # noqa: S608
        }
        if meant.judgements:
            removed[JUDGEMENTS] += await deleted(
                connection,
                f"DELETE FROM feedback WHERE tenant = $1 AND {meant.judgements}",  # noqa: S608
                tenant,
                *meant.values,
            )
        return removed

    async def _remove_parts(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> dict[str, int]:
        removed: dict[str, int] = {}
        for part in self.parts:
            removed |= await part.remove(connection, erasure, names, queries=queries)
        return removed

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear. Only an end user's own words are on the topic."""
        cleared: dict[str, int] = {}
        for one in self.elsewhere:
            cleared |= await one.clear(erasure)
        tables = [table for part in self.parts for table in part.tables]
        await self.database.rewrite("interactions", "interaction_chunks", "feedback", "outbox", *tables)
        if not isinstance(erasure.what, Subject):
            return cleared
        try:
            topic = topics.FEEDBACK_SUBMITTED.name
            return {
                **cleared,
                SUBMITTED: await self.trimmer.trim(topics.FEEDBACK_SUBMITTED, group_of("feedback", topic)),
            }
        except CannotTrim:
            self.own[SUBMITTED] = NOT_TRIMMED
            return cleared

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        meant = meant_by(erasure)
        left: dict[str, int] = {}
        for part in self.parts:
            left |= await part.left(connection, erasure, names)
        left |= {
            INTERACTIONS: await connection.fetchval(
                f"SELECT count(*) FROM interactions i WHERE i.tenant = $1 AND {meant.interactions}",  # noqa: S608
                erasure.tenant,
                *meant.values,
            )
        }
        if meant.judgements:
            left[JUDGEMENTS] = await connection.fetchval(
                f"SELECT count(*) FROM feedback WHERE tenant = $1 AND {meant.judgements}",  # noqa: S608
                erasure.tenant,
                *meant.values,
            )
        return left

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere. Only an end user's own words are on the topic."""
        left: dict[str, int] = {}
        for one in self.elsewhere:
            left |= await one.left(erasure)
        if not isinstance(erasure.what, Subject):
            return left
        return {**left, SUBMITTED: await self._on_topic(erasure, erasure.what.name)}

    async def _on_topic(self, erasure: Erasure, subject: str) -> int:
        until = erasure.until.timestamp() * 1000

        def is_theirs(message: FeedbackSubmitted, timestamp: int) -> bool:
            return message.tenant == erasure.tenant and message.subject == subject and timestamp <= until

        try:
            return await self.trimmer.left(topics.FEEDBACK_SUBMITTED, is_theirs)
        except CannotTrim:
            return 0


async def deleted(connection: Connection, delete: str, *values: object) -> int:
    """Runs a DELETE, and returns how many rows went."""
    status = await connection.execute(delete, *values)
    return int(status.rpartition(" ")[2])


def subscribe(bus: Bus, eraser: Eraser) -> None:
    """Wires the log's part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))


def buried_with(message: AnswerCompleted, names: Names) -> Sequence[tuple[Kind, bytes]]:
    """What an answer is erased with: whoever asked, and each document that the model had before it."""
    used = {(chunk.source, chunk.document_id) for chunk in message.retrieved}
    used |= {(citation.chunk.source, citation.chunk.document_id) for citation in message.citations}
    documents = [(Kind.DOCUMENT, names.document(*each)) for each in sorted(used)]
    sources = [(Kind.SOURCE, names.source(source)) for source in sorted({source for source, _ in used})]
    asked = [(Kind.SUBJECT, names.subject(message.query.subject))] if message.query.subject else []
    return [*asked, *sources, *documents]


def asked_at(message: AnswerCompleted) -> datetime | None:
    """When the question was taken in; None where nothing says so."""
    return message.query.accepted_at.ToDatetime(tzinfo=UTC) if message.query.HasField("accepted_at") else None


def judged_with(feedback: Feedback, names: Names) -> Sequence[tuple[Kind, bytes]]:
    """What a judgement is erased with: its query, and whoever judges. A judge who was erased may judge again."""
    query = [(Kind.QUERY, names.query(feedback.about.query_id))] if feedback.about.query_id else []
    return [*query, (Kind.SUBJECT, names.subject(feedback.subject))] if feedback.subject else query


class Tombstones:
    """See ports.Tombstones."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def keep_out_answer(self, unit: Unit, message: AnswerCompleted) -> None:
        """See ports.Tombstones."""
        tenant = message.query.tenant
        names = await names_of(self._vault, tenant)
        await keep_out(unit.connection, tenant, buried_with(message, names), at=asked_at(message))

    async def keep_out_feedback(self, unit: Unit, feedback: Feedback, *, sent_at: datetime) -> None:
        """See ports.Tombstones."""
        tenant = feedback.about.tenant
        names = await names_of(self._vault, tenant)
        await keep_out(unit.connection, tenant, judged_with(feedback, names), at=sent_at)
