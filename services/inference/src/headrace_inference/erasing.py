"""Inference's part in an erasure: which queries were answered. No text rests here; the model's cache of prompts holds
only what the house itself wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from headrace import topics
from headrace.query.v1.query_pb2 import Query
from headrace_database import Connection, Database
from headrace_privacy import Vault
from headrace_stream import Bus, Unit
from headrace_stream.erasing import Eraser, Erasure, Expired, Kind, Names, Subject, keep_out, names_of

ANSWERS = "inference.answers"
PROMPTS = "cache of prompts"

HOW = {ANSWERS: "deleted and vacuumed", PROMPTS: "none held"}


def meant_by(erasure: Erasure, names: Names) -> tuple[str, tuple[object, ...]]:
    """Returns which rows an erasure means: SQL and its values, from $2 on."""
    match erasure.what:
        case Subject(name):
            return "subject = $2 AND coalesce(asked_at, completed_at) <= $3", (names.subject(name), erasure.until)
        case Expired(tier, before):
            return "tier = $2 AND completed_at < $3", (int(tier), before)
        case _:  # which documents were used is written where answers are kept
            return "false", ()


@dataclass(frozen=True, slots=True)
class AnswerHoldings:
    """See headrace_stream.erasing.Holdings."""

    database: Database
    how: Mapping[str, str] = field(default_factory=lambda: HOW)

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove."""
        condition, values = meant_by(erasure, names)
        status = await connection.execute(
            f"DELETE FROM answers WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
            erasure.tenant,
            *values,
        )
        return {ANSWERS: int(status.rpartition(" ")[2])}

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""
        if isinstance(erasure.what, Subject | Expired):
            await self.database.rewrite("answers", "outbox")
        return {}

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        condition, values = meant_by(erasure, names)
        count = await connection.fetchval(
            f"SELECT count(*) FROM answers WHERE tenant = $1 AND {condition}",  # noqa: S608 - as above
            erasure.tenant,
            *values,
        )
        return {ANSWERS: count}

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere. There is nothing elsewhere."""
        del erasure
        return {}


def subscribe(bus: Bus, eraser: Eraser) -> None:
    """Wires inference's part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))


class Askers(Protocol):
    """Notes whose a query is, in the transaction that stores its answer."""

    async def note(self, unit: Any, query: Query) -> None:
        """Notes it, where anybody was named. Raises Erased when they are, since."""


class NoAskers:
    """Nobody will be erased."""

    async def note(self, unit: Any, query: Query) -> None:
        """See Askers."""


@dataclass(frozen=True, slots=True)
class HashedAskers:
    """See Askers. By keyed hash."""

    vault: Vault

    async def note(self, unit: Unit, query: Query) -> None:
        """See Askers."""
        if not query.subject:
            return
        name = (await names_of(self.vault, query.tenant)).subject(query.subject)
        at = query.accepted_at.ToDatetime(tzinfo=UTC) if query.HasField("accepted_at") else None
        await keep_out(unit.connection, query.tenant, [(Kind.SUBJECT, name)], at=at)
        await unit.connection.execute(
            "UPDATE answers SET subject = $3, asked_at = $4 WHERE tenant = $1 AND query_id = $2",
            query.tenant,
            UUID(query.query_id),
            name,
            at,
        )
