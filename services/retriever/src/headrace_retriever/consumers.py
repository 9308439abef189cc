"""The Kafka edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentEmbedded
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_database import Connection
from headrace_privacy import Erased, Opener, Seal, Tier, Vault, is_sealed, owner_of_document
from headrace_stream import Delivery, Event, Ledger

from headrace_retriever import handlers
from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import Change, OwnChunks
from headrace_retriever.generations import Ended, Moved
from headrace_retriever.keys import blinding_of
from headrace_retriever.own import OwnVectors
from headrace_retriever.ports import Index, Shelf
from headrace_retriever.tombstones import keep_out_document
from headrace_retriever.translate import (
    from_found,
    from_indexed,
    strictest_of,
    to_change,
    to_document,
    to_ended,
    to_question,
)

Clock = Callable[[], datetime]


class End(Protocol):
    """Ends an embedder's index within a transaction that names the tenant."""

    async def __call__(self, connection: Connection, ended: Ended, *, now: datetime) -> bool:
        """Says whether there was one to end."""


class QueryConsumer:
    """query.embedded → query.retrieved. Without state: a replay searches again and makes an event of the same id."""

    def __init__(self, index: Index, *, own: OwnVectors, vault: Vault, top_k: int, now: Clock) -> None:
        self._index = index
        self._own = own
        self._vault = vault
        self._top_k = top_k
        self._now = now

    async def __call__(self, delivery: Delivery[QueryEmbedded]) -> Sequence[Event[Any]]:
        """Handles one event."""
        message = delivery.message
        question = to_question(message, top_k=self._top_k, opener=await self._vault.opener_for(message))
        blinding = await blinding_of(self._vault, question.tenant)
        found = await handlers.retrieve(question, blinding=blinding, index=self._index, own=self._own)
        retrieved = from_found(message, found, received_at=delivery.received_at, finished_at=self._now())
        return [delivery.follow(topics.QUERY_RETRIEVED, retrieved, tier=strictest_of(message, found.passages))]


class DocumentConsumer:
    """document.embedded → document.indexed, once, in one transaction with the change itself."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        vault: Vault,
        shelf: Callable[[Connection], Shelf],
        own: OwnVectors,
        changed: Callable[[str], None],
        now: Clock,
    ) -> None:
        """changed: is told of the tenant whose chunks are others now."""
        self._ledger = ledger
        self._own = own
        self._changed = changed
        self._vault = vault
        self._shelf = shelf
        self._now = now

    async def __call__(self, delivery: Delivery[DocumentEmbedded]) -> Sequence[Event[Any]]:
        """Handles one event. Raises Erased."""
        change, blinding = await self._prepare(delivery.message)
        await self._store_by_what_is_live(delivery, change, blinding)
        self._changed(change.document.tenant)
        return []

    async def _store_by_what_is_live(
        self, delivery: Delivery[DocumentEmbedded], change: Change, blinding: Blinding
    ) -> None:
        """With its vectors by the tenant's own embedder, if one is live: whoever is told that the document is indexed
        finds it by them."""
        for _ in range(handlers.TRIES):
            own = await self._own.of_document(change)
            try:
                return await self._store(delivery, replace(change, own=own), blinding)
            except Moved as moved:
                self._own.learn(change.document.tenant, moved.live)
        return await self._store(delivery, replace(change, own=OwnChunks()), blinding)

    async def _store(self, delivery: Delivery[DocumentEmbedded], change: Change, blinding: Blinding) -> None:
        async with self._ledger.once(delivery, tenant=change.document.tenant) as unit:
            if unit is not None:
                await keep_out_document(unit, self._vault, delivery.message.document)
                shelf = self._shelf(unit.connection)
                indexed = await handlers.index_document(change, blinding=blinding, shelf=shelf, now=self._now())
                if indexed is not None:
                    unit.emit(delivery.follow(topics.DOCUMENT_INDEXED, from_indexed(delivery.message, indexed)))

    async def _prepare(self, message: DocumentEmbedded) -> tuple[Change, Blinding]:
        document = to_document(message.document)  # before any key is asked for in its name
        opener = await self._vault.opener_for(message)
        change = to_change(message, opener=opener, seal=await self._seal_for(message, opener))
        return change, await blinding_of(self._vault, document.tenant)

    async def _seal_for(self, message: DocumentEmbedded, opener: Opener) -> Seal | None:
        """Returns what seals what this document's chunks are stored with: the key that they came sealed with."""
        if Tier.of(message.tier) is not Tier.TIER_2 or not message.chunks:
            return None
        owner, first = owner_of_document(message.document), message.chunks[0].text
        if not is_sealed(first):
            return await self._vault.seal_for(owner)
        # Not one that is asked for now: for somebody who is being erased that would make a new one.
        key = opener.keys.get(first.sealed.key_id)
        if key is None:
            raise Erased("the key is destroyed")
        return Seal(owner, key)


class ModelConsumer:
    """model.changed: the index of an embedder that is retired or deleted goes, vectors included."""

    def __init__(self, ledger: Ledger, *, end: End, changed: Callable[[str], None], now: Clock) -> None:
        self._ledger = ledger
        self._end = end
        self._changed = changed
        self._now = now

    async def __call__(self, delivery: Delivery[ModelChanged]) -> Sequence[Event[Any]]:
        """Handles one event. Raises Rejected."""
        ended = to_ended(delivery.message)
        if ended is not None:
            async with self._ledger.once(delivery, tenant=ended.tenant) as unit:
                if unit is not None:
                    await self._end(unit.connection, ended, now=self._now())
            self._changed(ended.tenant)
        return []
