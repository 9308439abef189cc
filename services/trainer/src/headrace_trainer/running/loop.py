"""What the registry may ask of runs, and what stops a run whose snapshot is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from headrace_stream import Unit
from headrace_stream.envelope import derived_id
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import inject

from headrace_trainer.running.asking import Origin, Wish, again, ask
from headrace_trainer.running.failures import Word
from headrace_trainer.running.ports import Books
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import Cause, Run, State, Target
from headrace_trainer.running.translate import ended_event


@dataclass(frozen=True, slots=True)
class BookedLoop:
    """See ports.Loop."""

    books_on: Callable[[Unit], Books]
    new_id: Callable[[], UUID]

    async def rules_of(self, unit: Unit, tenant: str) -> Rules:
        """See ports.Loop."""
        return await self.books_on(unit).rules(tenant)

    async def is_paused(self, unit: Unit, tenant: str) -> bool:
        """See ports.Loop."""
        return await self.books_on(unit).pause_of(tenant) is not None

    async def add_cause(
        self, unit: Unit, tenant: str, target: Target, cause: Cause, *, because: Sequence[str], cause_id: UUID
    ) -> UUID | None:
        """See ports.Loop."""
        books = self.books_on(unit)
        if not (await books.rules(tenant)).automatic:
            return None
        asked = await ask(books, Wish(tenant, target, cause, tuple(because)), self.origin(cause_id))
        return asked[0].run_id if asked else None

    async def runs_of(self, unit: Unit, tenant: str, dataset_id: str) -> Sequence[Run]:
        """See ports.Loop."""
        return await self.books_on(unit).of_dataset(tenant, dataset_id)

    async def run_of(self, unit: Unit, tenant: str, run_id: UUID) -> Run | None:
        """See ports.Loop."""
        return await self.books_on(unit).get(tenant, run_id)

    def origin(self, cause_id: UUID) -> Origin:
        """A cause of the current span's."""
        return Origin(cause_id, self.new_id(), inject().get("traceparent", ""))

    async def end(self, unit: Unit, run: Run, state: State, *, failure: str = "") -> bool:
        """Ends a run that goes on, and says so; whoever conducts it lets go. Says no where it had ended."""
        ended = await self.books_on(unit).end(run, state, failure=failure)
        if ended is not None:
            unit.emit(ended_event(ended))
            counter("headrace.training.runs").add(1, {"outcome": state.name.lower()})
        return ended is not None

    async def lose_snapshot(self, unit: Unit, run: Run, word: Word) -> None:
        """Stops a run whose snapshot may be used no more, and has the same be trained of the rest."""
        if await self.end(unit, run, State.FAILED, failure=word) and (wish := again(run)) is not None:
            origin = Origin(derived_id("again", run.tenant, run.run_id), self.new_id(), run.traceparent, run.by)
            await ask(self.books_on(unit), wish, origin)
