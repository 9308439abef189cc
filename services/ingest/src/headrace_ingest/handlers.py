"""What ingest does with each event and each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from headrace import topics
from headrace.document.v1.document_pb2 import (
    DocumentAccepted,
    DocumentIndexed,
    DocumentRefused,
    DocumentSubmitted,
)
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace.query.v1.query_pb2 import Query
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_privacy import Erased, Owner, Tier, Vault, owner_of_query
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Delivery, Event, Refusal
from headrace_stream.codec import read_leniently
from headrace_stream.erasing import Kind, Names, names_of
from headrace_telemetry.tracing import describe, trace_id
from opentelemetry import trace

from headrace_ingest import translate
from headrace_ingest.checks import (
    check_document,
    check_markdown,
    check_query,
    check_tenant,
    readable_document_id,
    readable_name,
)
from headrace_ingest.domain import DocumentAddress, DocumentState, QueryRecord, QueryState
from headrace_ingest.ports import Clock, Parser, Store, Unit
from headrace_ingest.tombstones import (
    asked_at,
    erased,
    erased_with,
    grounds_of,
    refuse_buried,
    refuse_erased_document,
)


@dataclass(frozen=True, slots=True)
class Door:
    """What every submission passes: the store, the vault that seals it, and the strictest tier that a product, asking
    for its end users, may be answered from."""

    store: Store
    vault: Vault
    clearance: Tier
    clock: Clock


async def accept_query(
    delivery: Delivery[QuerySubmitted], *, door: Door, noted: Callable[[str, str], None]
) -> Sequence[Event[Any]]:
    """Records a query, once, and sends it on its way, sealed; `noted` hears of it. Raises Rejected."""
    message = delivery.message
    check_query(translate.query_fields(message))
    query_id = UUID(message.query_id)
    describe(trace.get_current_span(), {"headrace.query.id": str(query_id), "headrace.tenant": message.tenant})
    query = translate.query_of(
        message,
        clearance=door.clearance,
        published_at=delivery.arrival.published_at,
        received_at=delivery.received_at,
        now=door.clock(),
    )
    seal = await door.vault.seal_for(owner_of_query(query))
    names = await names_of(door.vault, message.tenant)
    async with door.store.once(delivery, tenant=message.tenant) as unit:
        if unit is None or not await _take_in(unit, query, message, names=names, at=delivery.arrival.published_at):
            return ()
        event = translate.accepted(message, query, seal)
        unit.emit(_on_query(delivery, query.tenant, str(query_id), topics.QUERY_ACCEPTED, event))
    noted(message.tenant, str(query_id))
    return ()


async def _take_in(unit: Unit, query: Query, message: QuerySubmitted, *, names: Names, at: datetime) -> bool:
    """Records a query; False when it was recorded before. Raises Rejected for one that was erased, or was sent before
    whoever asked was."""
    query_id = UUID(query.query_id)
    subject = names.subject(query.subject) if query.subject else b""
    if subject and await unit.is_buried(query.tenant, [(Kind.SUBJECT, subject)], at=at):
        raise erased("subject", "question's sender")
    if not await unit.accept_query(_record(query), product=message.product):
        if await unit.is_erased_query(query.tenant, query_id):
            raise erased("query_id", "query")
        return False
    if subject:
        await unit.note_asker(query.tenant, query_id, subject)
    return True


def _record(query: Query) -> QueryRecord:
    accepted_at = query.accepted_at.ToDatetime(tzinfo=UTC)
    return QueryRecord(query.tenant, UUID(query.query_id), QueryState.OPEN, accepted_at, trace_id(), None, None)


def _on_query(delivery: Delivery[Any], tenant: str, query_id: str, topic: Any, message: Any) -> Event[Any]:
    # Until the classifier has spoken, the strictest tier holds.
    return delivery.follow(topic, message, key=query_id, tenant=tenant, tier=Tier.TIER_2, correlation_id=query_id)


async def refuse_query(refusal: Refusal, *, clock: Clock) -> Sequence[Event[Any]]:
    """Answers a submission that cannot be a query."""
    seen = read_leniently(QuerySubmitted, refusal.value)
    message = QueryRefused(
        query_id=_as_uuid(seen.query_id),
        tenant=_owner(refusal, seen.tenant),
        product=readable_name(seen.product),
        violations=translate.violations_to_wire(refusal.violations),
        refused_at=translate.timestamp(clock()),
    )
    key = message.query_id or refusal.arrival.key
    return [
        refusal.arrival.event(
            topics.QUERY_REFUSED, message, key=key, tenant=message.tenant, correlation_id=message.query_id
        )
    ]


def _owner(refusal: Refusal, tenant: str) -> str:
    """The tenant that a refusal is addressed to: nobody's, when the publisher may not speak for it."""
    return readable_name(tenant) if refusal.speaks_for(tenant) else ""


def _as_uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        return ""


async def end_query(delivery: Delivery[AnswerCompleted], *, store: Store, vault: Vault) -> Sequence[Event[Any]]:
    """Notes a query's answer; the first wins. One that was made of a document that is erased, is erased too."""
    message, query = delivery.message, delivery.message.query
    check_tenant(query.tenant, query_id=query.query_id)
    query_id, names = UUID(query.query_id), await names_of(vault, query.tenant)
    async with store.once(delivery, tenant=query.tenant) as unit:
        if unit is None:
            return ()
        if await unit.is_buried(query.tenant, erased_with(message, names), at=asked_at(message)):
            await unit.bury_query(query.tenant, query_id, state=QueryState.ERASED)
            return ()
        answer, tier = message.SerializeToString(), Tier.of(message.tier)
        if await unit.answer_query(query.tenant, query_id, answer=answer, event_id=delivery.event_id, tier=tier):
            await unit.note_grounds(query.tenant, query_id, grounds_of(message))
    return ()


async def bury(delivery: Delivery[DeadLetter], *, store: Store, clock: Clock) -> Sequence[Event[Any]]:
    """Notes that a query, or a document, was given up on somewhere along its way, or was erased on it."""
    letter = delivery.message
    async with store.once(delivery, tenant=_tenant_of(letter)) as unit:
        if unit is None:
            return ()
        if letter.topic.startswith("document."):
            await _bury_document(unit, letter, clock)
        elif query_id := _as_uuid(letter.correlation_id):
            state = QueryState.ERASED if _is_erased(letter) else QueryState.DEAD_LETTERED
            await unit.bury_query(letter.tenant, UUID(query_id), state=state)
    return ()


def _tenant_of(letter: DeadLetter) -> str:
    is_of_document = letter.topic.startswith("document.")
    return letter.correlation_id.partition("/")[0] if is_of_document else letter.tenant


async def _bury_document(unit: Unit, letter: DeadLetter, clock: Clock) -> None:
    tenant, _, rest = letter.correlation_id.partition("/")
    source, _, document_id = rest.partition("/")
    state = DocumentState.DELETED if _is_erased(letter) else DocumentState.DEAD_LETTERED
    await unit.bury_document(DocumentAddress(tenant, source, document_id), state=state, now=clock())


def _is_erased(letter: DeadLetter) -> bool:
    return letter.error == Erased.__name__


async def submit_document(delivery: Delivery[DocumentSubmitted], *, door: Door, parser: Parser) -> Sequence[Event[Any]]:
    """Makes a document's next version and sends it on its way; unchanged content does nothing. Raises Rejected."""
    message = delivery.message
    if message.WhichOneof("change") is None:
        raise Rejected(Violation("content", "missing", "Give the document's content, or its deletion."))
    check_document(translate.document_fields(message))
    if translate.document_fields(message).content is None:
        await _delete_document(delivery, door)
    else:
        await _put_document(delivery, door, await parser.markdown(message.content.data, message.content.media_type))
    return ()


async def _put_document(delivery: Delivery[DocumentSubmitted], door: Door, markdown: str) -> None:
    check_markdown(markdown)
    message, sent_at = delivery.message, delivery.arrival.published_at
    await refuse_erased_document(message, store=door.store, vault=door.vault, at=sent_at)
    seal = await door.vault.seal_for(Owner.document(message.tenant, message.source, message.document_id))
    key = await door.vault.key_of(Owner.index(message.tenant))
    labels = translate.labels_of(message, markdown=markdown, seal=seal)
    change = translate.change_of(message, labels=labels, key=key.secret)
    async with door.store.once(delivery, tenant=message.tenant) as unit:
        if unit is None:
            return
        names = Names(key.secret)
        await refuse_buried(unit, message, names, at=sent_at)
        if (applied := await unit.apply(change, now=door.clock())) is not None:
            await unit.note_content(change.address, names.content(message.content.data))
            put = translate.document_put(change, applied, markdown, seal, now=door.clock())
            unit.emit(_on_document(delivery, put))


async def _delete_document(delivery: Delivery[DocumentSubmitted], door: Door) -> None:
    change = translate.change_of(delivery.message, labels=b"", key=b"")
    async with door.store.once(delivery, tenant=change.address.tenant) as unit:
        if unit is not None and (applied := await unit.apply(change, now=door.clock())) is not None:
            unit.emit(_on_document(delivery, translate.document_deleted(change, applied, now=door.clock())))


def _on_document(delivery: Delivery[DocumentSubmitted], message: DocumentAccepted) -> Event[DocumentAccepted]:
    address = translate.address_of(message.document)
    return delivery.follow(
        topics.DOCUMENT_ACCEPTED,
        message,
        key=address.key,
        tenant=address.tenant,
        tier=Tier.TIER_2,
        correlation_id=address.key,
    )


async def refuse_document(refusal: Refusal, *, store: Store, clock: Clock) -> Sequence[Event[Any]]:
    """Answers a submission that cannot be a document, and notes it for the client that waits."""
    seen = read_leniently(DocumentSubmitted, refusal.value)
    tenant = _owner(refusal, seen.tenant)
    message = DocumentRefused(
        submission_id=_as_uuid(seen.submission_id),
        tenant=tenant,
        # A document's id may be any words: those of a stranger are not repeated.
        source=readable_name(seen.source) if tenant else "",
        document_id=readable_document_id(seen.document_id) if tenant else "",
        violations=translate.violations_to_wire(refusal.violations),
        refused_at=translate.timestamp(clock()),
    )
    if message.submission_id and message.tenant:
        async with store.unit(tenant=message.tenant) as unit:
            await unit.refuse(
                UUID(message.submission_id),
                translate.address_of_refused(message),
                violations=message.SerializeToString(),
                now=clock(),
            )
    return [
        refusal.arrival.event(
            topics.DOCUMENT_REFUSED,
            message,
            tenant=message.tenant,
            correlation_id=f"{tenant}/{message.source}/{message.document_id}" if tenant else "",
        )
    ]


async def note_indexed(delivery: Delivery[DocumentIndexed], *, store: Store) -> Sequence[Event[Any]]:
    """Notes that every search sees a document's version."""
    message = delivery.message
    async with store.once(delivery, tenant=message.document.tenant) as unit:
        if unit is not None:
            await unit.index(
                translate.address_of(message.document),
                message.document.version,
                tier=Tier.of(message.tier),
                chunks=message.chunks,
                now=message.indexed_at.ToDatetime(tzinfo=UTC),
            )
    return ()
