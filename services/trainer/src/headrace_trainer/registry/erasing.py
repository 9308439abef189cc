"""What an erasure does to models: those that learned from what is gone are condemned, named in the receipt, replaced,
retired, and their weights deleted.

Weights cannot forget one row, so a model goes as a whole: as soon as a later one answers, or at the
deadline. The receipt names it and the deadline; the classifier completes it when the weights are gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureApplied, ErasureRequested, ErasureVerified, ErasureVerifying
from headrace.privacy.v1.erasure_pb2 import ReachedModel as WireReached
from headrace_stream import Bus, Delivery, Event, Unit
from headrace_stream.erasing import applied, to_reports, verified

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.models import Change, Model, condemned
from headrace_trainer.registry.ports import Rows
from headrace_trainer.registry.shelf import Books, Shelf
from headrace_trainer.registry.telling import Outgoing, tell
from headrace_trainer.registry.translate import stamp
from headrace_trainer.running.ports import Ended, Loop, Registry
from headrace_trainer.running.runs import BY_ITSELF

#: What learns from the erased right now; its checkpoints go with the run.
RUNS = "training under way"
#: What is known of models by name, and their weights.
MODELS = "weights of models"

HOW: Mapping[str, str] = {
    RUNS: "stopped, checkpoints deleted",
    MODELS: "condemned: retired and deleted by the deadline that is named",
}


async def condemn(unit: Outgoing, books: Books, ended: Ended, *, seconds: float, now: datetime) -> Sequence[Model]:
    """Condemns what learned from a snapshot that was erased, once for each erasure; returns what is new."""
    retire_by = ended.ended_at + timedelta(seconds=seconds)
    reached = []
    for model in await books.of_dataset(ended.tenant, ended.dataset_id):
        if ended.by in model.erasures:
            continue
        after = condemned(model, retire_by=retire_by, erasure=ended.by)
        await books.save(after)
        if after.deleted_at is None:
            await books.put(model.tenant, model.model, due_at=now, watched=int(shelves.is_watched(after)))
        tell(unit, after, Change.CONDEMNED, before=model.state, because="erasure", by=BY_ITSELF, now=now)
        reached.append(after)
    return reached


@dataclass(frozen=True, slots=True)
class ErasureConsumers:
    """The trainer's part in an erasure. It holds no words; what it made of them, it tells."""

    shelf: Shelf
    rows: Rows
    loop: Loop
    registry: Registry

    def subscribe(self, bus: Bus) -> None:
        """Wires both topics."""
        bus.subscribe(topics.ERASURE_REQUESTED, self.on_requested)
        bus.subscribe(topics.ERASURE_VERIFYING, self.on_verifying)

    async def on_requested(self, delivery: Delivery[ErasureRequested]) -> Sequence[Event[ErasureApplied]]:
        """erasure.requested → erasure.applied. Which snapshots it touches is only known once the feedback logger has
        removed their rows, so what follows is done at dataset.ended, and made sure of when it is read back."""
        tenant = delivery.message.scope.tenant
        async with self.shelf.ledger.once(delivery, tenant=tenant) as unit:
            if unit is not None:
                reports = to_reports(HOW, {})
                now = self.shelf.now()
                unit.emit(applied(topics.ERASURE_APPLIED, delivery, "trainer", reports, now=now))
        return ()

    async def on_verifying(self, delivery: Delivery[ErasureVerifying]) -> Sequence[Event[ErasureVerified]]:
        """erasure.verifying → erasure.verified, with the models that it reached. dataset.ended may be late: the
        feedback logger is asked which snapshots have ended by this erasure. Raises Unavailable."""
        message = delivery.message
        tenant, by = message.scope.tenant, f"erasure {message.erasure_id}"
        snapshots = await self.rows.ended_by(tenant, by)
        at = delivery.received_at
        ended = [Ended(tenant, dataset_id, erased=True, by=by, ended_at=at) for dataset_id in snapshots]
        async with self.shelf.ledger.once(delivery, tenant=tenant) as unit:
            if unit is not None:
                for one in ended:
                    await self.registry.dataset_ended(unit, one)
                left = await self._under_way(unit, tenant, ended)
                models = await self._reached(unit, tenant, by)
                now = self.shelf.now()
                event = verified(topics.ERASURE_VERIFIED, delivery, "trainer", to_reports(HOW, {RUNS: left}), now=now)
                event.message.models.extend(models)
                unit.emit(event)
        return ()

    async def _under_way(self, unit: Unit, tenant: str, ended: Sequence[Ended]) -> int:
        """Runs that still learn from what is gone."""
        left = 0
        for one in ended:
            runs = await self.loop.runs_of(unit, tenant, one.dataset_id)
            left += sum(run.state.is_under_way for run in runs)
        return left

    async def _reached(self, unit: Unit, tenant: str, by: str) -> Sequence[WireReached]:
        models = await self.shelf.books_on(unit).newest(tenant, shelves.MOST)
        return [to_reached(model) for model in models if by in model.erasures]


def to_reached(model: Model) -> WireReached:
    """Writes a model that learned from what was erased."""
    return WireReached(
        model=model.model,
        dataset_id=model.dataset_id,
        retire_by=stamp(model.retire_by),
        retired_at=stamp(model.deleted_at),
        replaced_by=model.replaced_by if model.deleted_at else "",
    )
