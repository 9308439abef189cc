"""A finished folder becomes a snapshot: in the books, in the store and on the bus, or in none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace import topics
from headrace.feedback.v1.datasets_pb2 import DatasetBuilt, DatasetEnded
from headrace_runtime.errors import Denied
from headrace_stream import Event, Ledger, Unit
from headrace_stream.envelope import derived_id

from headrace_feedback.datasets.building import Finished
from headrace_feedback.datasets.ports import Books, Store, Tombstones
from headrace_feedback.datasets.snapshots import Snapshot, State
from headrace_feedback.datasets.translate import to_built, to_ended


@dataclass(frozen=True, slots=True)
class Library:
    """Where snapshots are kept."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    store: Store
    tombstones: Tombstones


async def keep(finished: Finished, library: Library) -> tuple[Snapshot, bool]:
    """Keeps a snapshot, and says whether it is new. Raises Conflict when something in it was erased meanwhile, Denied
    when a grant that it stands on has ended.

    The folder is put in its place just before the commit, under a lock: who dies in between leaves a folder that no
    book knows, and which is swept.
    """
    snapshot = finished.snapshot
    async with library.ledger.unit(tenant=snapshot.tenant) as unit:
        books = library.books_on(unit)
        await books.hold(snapshot.tenant)
        await library.tombstones.keep_out_rows(unit, snapshot.tenant, finished.lineage)
        known = await books.get(snapshot.tenant, snapshot.dataset_id)
        if known is not None and known.state is not State.ERASED:
            return known, False
        if await books.has_ended(snapshot.tenant, snapshot.grants):
            raise Denied("a grant ended while the dataset was being built")
        await books.add(snapshot, finished.lineage)
        unit.emit(built_event(snapshot))
        await library.store.put(snapshot.tenant, snapshot.dataset_id, finished.folder)
    return snapshot, True


def built_event(one: Snapshot) -> Event[DatasetBuilt]:
    """Makes the event that a snapshot was built."""
    message = to_built(one)
    moment = one.created_at.isoformat()
    return Event(
        topic=topics.DATASET_BUILT,
        message=message,
        key=one.dataset_id,
        event_id=derived_id("dataset.built", one.tenant, one.dataset_id, moment),
        source="feedback",
        correlation_id=one.dataset_id,
        causation_id=one.dataset_id,
        tenant=one.tenant,
        tier=one.tier,
    )


def ended_event(one: Snapshot, *, causation_id: str = "") -> Event[DatasetEnded]:
    """Makes the event that a snapshot may no longer be used."""
    return Event(
        topic=topics.DATASET_ENDED,
        message=to_ended(one),
        key=one.dataset_id,
        event_id=derived_id("dataset.ended", one.tenant, one.dataset_id, one.state, one.ended_by),
        source="feedback",
        correlation_id=one.dataset_id,
        causation_id=causation_id or one.ended_by.rpartition(" ")[2],
        tenant=one.tenant,
        tier=one.tier,
    )
