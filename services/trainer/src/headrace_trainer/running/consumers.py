"""The Kafka edge of runs: drift that asks for one, and snapshots that may be used no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace import topics
from headrace.drift.v1.drift_pb2 import DriftDetected
from headrace.feedback.v1.datasets_pb2 import DatasetEnded
from headrace_stream import Bus, Delivery, Event, Ledger, Unit
from headrace_stream.envelope import derived_id

from headrace_trainer.running.asking import Wish, ask, hold_cause
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.ports import Books, Registry
from headrace_trainer.running.runs import Cause, Target
from headrace_trainer.running.translate import Drift, read_drift, read_ended


@dataclass(frozen=True, slots=True)
class RunConsumers:
    """Each event takes effect once. wake: tells the conductor of a new run."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    loop: BookedLoop
    registry: Registry
    wake: Callable[[], None]

    def subscribe(self, bus: Bus) -> None:
        """Wires each topic."""
        bus.subscribe(topics.DRIFT_DETECTED, self.on_drift)
        bus.subscribe(topics.DATASET_ENDED, self.on_dataset_ended)

    async def on_drift(self, delivery: Delivery[DriftDetected]) -> Sequence[Event[Any]]:
        """Asks for a run, where the rules are automatic and a run can help, in the alert's trace. Raises Rejected."""
        drift = read_drift(delivery.message)
        async with self.ledger.once(delivery, tenant=drift.tenant) as unit:
            if unit is not None:
                await self._follow(drift, self.books_on(unit))
        self.wake()
        return ()

    async def _follow(self, drift: Drift, books: Books) -> None:
        """What is missing are documents: then the alert waits for the steward who brings them, and goes along. Waiting
        starts nothing, so it does whatever the rules are."""
        cause_id = derived_id("alert", drift.tenant, drift.alert_id)
        if not drift.is_open:
            await books.drop_held(drift.tenant, cause_id)
        elif drift.waits:
            await hold_cause(books, _wish(drift, Target.GENERATOR), self.loop.origin(cause_id))
        elif drift.starts and (rules := await books.rules(drift.tenant)).automatic:
            for target in rules.targets:
                its = cause_id if target is Target.GENERATOR else derived_id("alert", cause_id, target.label)
                await ask(books, _wish(drift, target), self.loop.origin(its))

    async def on_dataset_ended(self, delivery: Delivery[DatasetEnded]) -> Sequence[Event[Any]]:
        """Stops what learns from it, and has the registry do what follows for what has learned. Raises Rejected."""
        ended = read_ended(delivery.message, received_at=delivery.received_at)
        async with self.ledger.once(delivery, tenant=ended.tenant) as unit:
            if unit is not None:
                for run in await self.books_on(unit).of_dataset(ended.tenant, ended.dataset_id):
                    if run.state.is_under_way:
                        await self.loop.lose_snapshot(unit, run, "erased" if ended.erased else "grant_ended")
                await self.registry.dataset_ended(unit, ended)
        self.wake()
        return ()


def _wish(drift: Drift, target: Target) -> Wish:
    return Wish(drift.tenant, target, Cause.DRIFT, (f"alert {drift.alert_id}",))
