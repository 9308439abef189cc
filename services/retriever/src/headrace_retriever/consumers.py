"""The Kafka edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentEmbedded
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace_database import Connection
from headrace_stream import Delivery, Event, Ledger

from headrace_retriever import handlers
from headrace_retriever.ports import Index, Shelf
from headrace_retriever.translate import from_found, from_indexed, strictest_of, to_change, to_question

Clock = Callable[[], datetime]


class QueryConsumer:
    """query.embedded → query.retrieved. Without state: a replay searches again and makes an event of the same id."""

    def __init__(self, index: Index, *, top_k: int, now: Clock) -> None:
        self._index = index
        self._top_k = top_k
        self._now = now

    async def __call__(self, delivery: Delivery[QueryEmbedded]) -> Sequence[Event[Any]]:
        """Handles one event."""
        message = delivery.message
        found = await handlers.retrieve(to_question(message, top_k=self._top_k), index=self._index)
        retrieved = from_found(message, found, received_at=delivery.received_at, finished_at=self._now())
        return [delivery.follow(topics.QUERY_RETRIEVED, retrieved, tier=strictest_of(message, found.passages))]


class DocumentConsumer:
    """document.embedded → document.indexed, once, in one transaction with the change itself."""

    def __init__(self, ledger: Ledger, *, shelf: Callable[[Connection], Shelf], now: Clock) -> None:
        self._ledger = ledger
        self._shelf = shelf
        self._now = now

    async def __call__(self, delivery: Delivery[DocumentEmbedded]) -> Sequence[Event[Any]]:
        """Handles one event."""
        change = to_change(delivery.message)
        async with self._ledger.once(delivery, tenant=change.document.tenant) as unit:
            if unit is not None:
                shelf = self._shelf(unit.connection)
                indexed = await handlers.index_document(change, shelf=shelf, now=self._now())
                if indexed is not None:
                    unit.emit(delivery.follow(topics.DOCUMENT_INDEXED, from_indexed(delivery.message, indexed)))
        return []
