"""The Kafka edge of trained models: one instance writes down how a model stands, all of them load it or let it go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.training.v1.models_pb2 import ModelChanged
from headrace_stream import Delivery, Event, Ledger
from headrace_telemetry.tracing import inject

from headrace_inference.trained_ports import TrainedBooks
from headrace_inference.trained_records import TrainedRecord
from headrace_inference.trained_translate import to_record


@dataclass(frozen=True, slots=True)
class TrainedConsumer:
    """Writes down."""

    ledger: Ledger
    books: TrainedBooks

    async def on_change(self, delivery: Delivery[ModelChanged]) -> Sequence[Event[Any]]:
        """model.changed → the model's row, once. Raises Rejected."""
        record = to_record(delivery.message, inject())
        async with self.ledger.once(delivery, tenant=record.tenant) as unit:
            if unit is not None:
                await self.books.put(unit, record)
        return ()


@dataclass(frozen=True, slots=True)
class TrainedWatch:
    """Tells this instance. listeners: whoever loads models."""

    listeners: Sequence[Callable[[TrainedRecord], object]]

    async def on_change(self, message: ModelChanged) -> None:
        """model.changed → it is loaded, or let go, beside the queries under way. Raises Rejected."""
        record = to_record(message, inject())
        for note in self.listeners:
            note(record)
