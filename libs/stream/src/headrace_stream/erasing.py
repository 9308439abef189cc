"""A service's part in an erasure: it removes what it holds, says so, reads back what is left, and says that.

    erasure.requested ─▶ lock out writers of the tenant ─▶ tombstones, deletion ─▶ vacuum, trim ─▶ erasure.applied
    erasure.verifying ─▶ read back ─▶ erasure.verified

Every step can be repeated. A tombstone keeps out what was still on its way; it names nobody, only a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1 import erasure_pb2
from headrace.privacy.v1.erasure_pb2 import (
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
    StoreReport,
)
from headrace.topics import Topic
from headrace_database import Connection
from headrace_privacy import Erased, Owner, Tier, Vault
from headrace_runtime.errors import Rejected, Violation

from headrace_stream.envelope import Delivery, Event
from headrace_stream.ledger import Ledger

_DOMAIN = b"headrace tombstone\x1f"


class Kind(IntEnum):
    """What a tombstone is of; the numbers of migrations/0003_erasures.sql."""

    SUBJECT = 1
    SOURCE = 2
    DOCUMENT = 3
    CONTENT = 4
    QUERY = 5


#: What never comes back, whenever it comes: the same document, the same file, the same query.
_FOR_GOOD = (Kind.DOCUMENT, Kind.CONTENT, Kind.QUERY)


@dataclass(frozen=True, slots=True)
class Subject:
    """All of an end user's."""

    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """All documents of a source, and what was made of them."""

    source: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document, and what was made of it."""

    source: str
    document_id: str


@dataclass(frozen=True, slots=True)
class Expired:
    """Records of a tier from before a moment."""

    tier: Tier
    before: datetime


What = Subject | Source | Document | Expired


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to be erased, in which round. `now`: when this service was told."""

    erasure_id: UUID
    tenant: str
    what: What
    round: int
    requested_at: datetime
    now: datetime

    @property
    def until(self) -> datetime:
        """What came before is meant. An end user may come again at once; of a source, what is made while the stores are
        still being told is meant too."""
        return self.requested_at if isinstance(self.what, Subject) else self.now


@dataclass(frozen=True, slots=True)
class Names:
    """Hashes names for one tenant, so that a tombstone names nobody. `secret`: of the tenant's index."""

    secret: bytes = field(repr=False)

    def subject(self, name: str) -> bytes:
        """The hash of an end user: 32 bytes."""
        return self._hash(Kind.SUBJECT, name)

    def source(self, source: str) -> bytes:
        """Of a source."""
        return self._hash(Kind.SOURCE, source)

    def document(self, source: str, document_id: str) -> bytes:
        """Of a document's address."""
        return self._hash(Kind.DOCUMENT, f"{source}/{document_id}")

    def content(self, data: bytes) -> bytes:
        """Of a file."""
        return self._hash(Kind.CONTENT, hashlib.sha256(data).hexdigest())

    def query(self, query_id: UUID) -> bytes:
        """Of a query."""
        return self._hash(Kind.QUERY, str(query_id))

    def _hash(self, kind: Kind, name: str) -> bytes:
        return hmac.new(self.secret, _DOMAIN + f"{int(kind)}\x1f{name}".encode(), hashlib.sha256).digest()


async def names_of(vault: Vault, tenant: str) -> Names:
    """Returns what hashes a tenant's names. Raises what the vault raises."""
    return Names((await vault.key_of(Owner.index(tenant))).secret)


class Holdings(Protocol):
    """What one service holds, by store: "feedback.interactions", "topic query.submitted"."""

    @property
    def how(self) -> Mapping[str, str]:
        """How each store is emptied, in fixed words: "deleted and vacuumed", "trimmed". Every store is listed."""

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """Removes rows in the transaction, and buries what must not come back; returns how many went of each store."""

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """Does what no transaction can: vacuums, trims topics, drops caches."""

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """Reads back how many records each table still has. Nobody writes meanwhile: to be quick."""

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """The same of what is in no table: topics."""


async def enter(connection: Connection, tenant: str) -> None:
    """To be called before a transaction looks for tombstones and writes what an erasure would remove: whoever erases
    waits for it, or it for them."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext(current_schema()), hashtext($1))", tenant)


async def bury(connection: Connection, tenant: str, names: Iterable[tuple[Kind, bytes]], *, until: datetime) -> None:
    """Keeps out what comes late."""
    rows = [(tenant, int(kind), name, until) for kind, name in names]
    await connection.executemany(
        "INSERT INTO tombstones AS t (tenant, kind, name, erased_until) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (tenant, kind, name) DO UPDATE SET erased_until = greatest(t.erased_until, $4)",
        rows,
    )


async def is_buried(
    connection: Connection, tenant: str, names: Sequence[tuple[Kind, bytes]], *, at: datetime | None = None
) -> bool:
    """Says whether anything of these is erased. `at`: when it came; what has no time is taken for old."""
    if not names:
        return False
    found = await connection.fetchval(
        "SELECT true FROM tombstones t JOIN unnest($2::smallint[], $3::bytea[]) AS n (kind, name) USING (kind, name)"
        " WHERE t.tenant = $1 AND (t.kind = ANY($4) OR $5::timestamptz IS NULL OR t.erased_until >= $5) LIMIT 1",
        tenant,
        [int(kind) for kind, _ in names],
        [name for _, name in names],
        [int(kind) for kind in _FOR_GOOD],
        at,
    )
    return bool(found)


async def keep_out(
    connection: Connection, tenant: str, names: Sequence[tuple[Kind, bytes]], *, at: datetime | None = None
) -> None:
    """Ends what comes late: enters, and raises Erased for what is buried."""
    await enter(connection, tenant)
    if await is_buried(connection, tenant, names, at=at):
        raise Erased("it came after the erasure")


@dataclass(frozen=True, slots=True)
class Eraser:
    """A service's part, for one that has tables."""

    service: str
    ledger: Ledger
    vault: Vault
    holdings: Holdings
    now: Callable[[], datetime]

    async def apply(
        self, topic: Topic[ErasureApplied], delivery: Delivery[ErasureRequested]
    ) -> Sequence[Event[ErasureApplied]]:
        """erasure.requested → erasure.applied, on `topic`. Raises Rejected, Unavailable."""
        erasure = read_erasure(delivery.message, now=self.now())
        self.vault.forget()
        names = await names_of(self.vault, erasure.tenant)
        await self._remove(erasure, names)
        cleared = await self.holdings.clear(erasure)
        async with self.ledger.once(delivery, tenant=erasure.tenant) as unit:
            if unit is not None:
                await _count(unit.connection, erasure, cleared)
                removed = await _counted(unit.connection, erasure)
                reports = to_reports(self.holdings.how, removed)
                unit.emit(applied(topic, delivery, self.service, reports, now=self.now()))
        return ()

    async def verify(
        self, topic: Topic[ErasureVerified], delivery: Delivery[ErasureVerifying]
    ) -> Sequence[Event[ErasureVerified]]:
        """erasure.verifying → erasure.verified, on `topic`. Raises Rejected, Unavailable."""
        erasure = read_erasure(delivery.message, now=self.now())
        names = await names_of(self.vault, erasure.tenant)
        elsewhere = await self.holdings.left_elsewhere(erasure)
        async with self.ledger.once(delivery, tenant=erasure.tenant) as unit:
            if unit is not None:
                await _exclude_writers(unit.connection, erasure.tenant)
                await bury(unit.connection, erasure.tenant, _tombstones(erasure, names), until=erasure.until)
                left = await self.holdings.left(unit.connection, erasure, names)
                reports = to_reports(self.holdings.how, {**left, **elsewhere})
                unit.emit(verified(topic, delivery, self.service, reports, now=self.now()))
        return ()

    async def _remove(self, erasure: Erasure, names: Names) -> None:
        async with self.ledger.unit(tenant=erasure.tenant) as unit:
            await _exclude_writers(unit.connection, erasure.tenant)
            await bury(unit.connection, erasure.tenant, _tombstones(erasure, names), until=erasure.until)
            await _count(unit.connection, erasure, await self.holdings.remove(unit.connection, erasure, names))


async def _exclude_writers(connection: Connection, tenant: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext($1))", tenant)


def _tombstones(erasure: Erasure, names: Names) -> list[tuple[Kind, bytes]]:
    match erasure.what:
        case Subject(name):
            return [(Kind.SUBJECT, names.subject(name))]
        case Source(source):
            return [(Kind.SOURCE, names.source(source))]
        case Document(source, document_id):
            return [(Kind.DOCUMENT, names.document(source, document_id))]
        case _:
            return []


async def _count(connection: Connection, erasure: Erasure, removed: Mapping[str, int]) -> None:
    """Adds to what is known of earlier attempts: one that was killed half way has removed records too."""
    await connection.executemany(
        "INSERT INTO erased_records AS e (tenant, erasure_id, store, records) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (tenant, erasure_id, store) DO UPDATE SET records = e.records + $4",
        [(erasure.tenant, erasure.erasure_id, store, records) for store, records in removed.items()],
    )


async def _counted(connection: Connection, erasure: Erasure) -> Mapping[str, int]:
    rows = await connection.fetch(
        "SELECT store, records FROM erased_records WHERE tenant = $1 AND erasure_id = $2",
        erasure.tenant,
        erasure.erasure_id,
    )
    return {row["store"]: row["records"] for row in rows}


def read_erasure(message: ErasureRequested | ErasureVerifying, *, now: datetime) -> Erasure:
    """Reads what is to be erased. Raises Rejected."""
    scope = message.scope
    what = read_what(scope)
    if what is None or not scope.tenant:
        raise Rejected(Violation("scope", "missing", "The event does not say what is to be erased."))
    requested_at = message.requested_at.ToDatetime(tzinfo=UTC)
    return Erasure(UUID(message.erasure_id), scope.tenant, what, message.round, requested_at, now)


def read_what(scope: ErasureScope) -> What | None:
    """Reads what of a tenant's is meant; None when the scope says nothing."""
    match scope.WhichOneof("what"):
        case "subject":
            return Subject(scope.subject)
        case "source":
            return Source(scope.source)
        case "document":
            return Document(scope.document.source, scope.document.document_id)
        case "expired":
            return Expired(Tier.of(scope.expired.tier), scope.expired.before.ToDatetime(tzinfo=UTC))
        case _:
            return None


def to_reports(how: Mapping[str, str], records: Mapping[str, int]) -> list[StoreReport]:
    """Writes a report of every store; those that nothing was counted of have 0."""
    return [StoreReport(store=store, records=records.get(store, 0), how=word) for store, word in how.items()]


def applied(
    topic: Topic[ErasureApplied],
    delivery: Delivery[ErasureRequested],
    service: str,
    reports: Sequence[StoreReport],
    *,
    now: datetime,
) -> Event[ErasureApplied]:
    """Makes the event that says what a service removed."""
    message = delivery.message
    event = ErasureApplied(
        erasure_id=message.erasure_id, round=message.round, service=service, stores=reports, applied_at=_stamp(now)
    )
    return delivery.follow(topic, event, key=message.erasure_id, tenant=message.scope.tenant)


def verified(
    topic: Topic[ErasureVerified],
    delivery: Delivery[ErasureVerifying],
    service: str,
    reports: Sequence[StoreReport],
    *,
    now: datetime,
) -> Event[ErasureVerified]:
    """Makes the event that says what a service has left."""
    message = delivery.message
    event = erasure_pb2.ErasureVerified(
        erasure_id=message.erasure_id, round=message.round, service=service, stores=reports, verified_at=_stamp(now)
    )
    return delivery.follow(topic, event, key=message.erasure_id, tenant=message.scope.tenant)


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
