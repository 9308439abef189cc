"""What loading a tenant's own models needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from headrace_stream import Unit

from headrace_inference.ports import Model
from headrace_inference.trained_records import Failure, TrainedRecord


class LoadFailed(Exception):
    """A model could not be loaded. Its text is one of Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class LoadedModel(Model, Protocol):
    """A model in memory."""

    @property
    def is_alive(self) -> bool:
        """Whether it can still write."""


class Loader(Protocol):
    """Gets weights and runs them."""

    def open(self, record: TrainedRecord) -> AbstractAsyncContextManager[LoadedModel]:
        """The model, ready to write, until the context ends. Raises LoadFailed."""

    async def forget(self, record: TrainedRecord) -> None:
        """Deletes what was kept of its weights on this machine. What is gone already is no error."""

    async def keep_only(self, records: Sequence[TrainedRecord]) -> None:
        """Deletes what was kept of any other, unless it is so new that another instance may know of it already."""


class TrainedBooks(Protocol):
    """Where it is kept which models there are."""

    async def put(self, unit: Unit, record: TrainedRecord) -> None:
        """Stores how a model stands, inside a transaction of its tenant; an older word changes nothing."""

    async def of(self, tenant: str) -> Sequence[TrainedRecord]:
        """A tenant's. Raises Unavailable."""

    async def every(self) -> Sequence[TrainedRecord]:
        """All tenants'. Raises Unavailable."""
