"""How embedders are judged: the tenant's whole corpus is indexed by the candidate beside what is live, and held-out
questions are searched for in both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable

from headrace_trainer.registry.gate import Line, SearchFindings, lines_of_search
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import Indexes, Loaded, Question, Questions
from headrace_trainer.registry.ranks import PLACES, Ranked, lines_of, place_of
from headrace_trainer.registry.rules import Gate
from headrace_trainer.registry.switching import sound
from headrace_trainer.registry.targets import Examined
from headrace_trainer.running.runs import Run

#: What the champion is called in reports where it is the house's own.
HOUSES_OWN = "the house's embedder"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds. failing: for weights that cannot be loaded, since it is tried again. stalled: for
    an index that gets no further."""

    look: float = 0.5
    failing: float = 20.0
    stalled: float = 600.0


@dataclass(frozen=True, slots=True)
class SearchBench:
    """See targets.Examiner. sleep, clock: in seconds."""

    moves: Moves
    indexes: Indexes
    questions: Questions
    gate: Gate
    sleep: Callable[[float], Awaitable[None]]
    clock: Callable[[], float]
    patience: Patience = Patience()

    async def tried(self, model: Model) -> Loaded:
        """See Examiner. However long the index takes, it is waited for while it gets on. Raises Unavailable where it
        does not, which is nothing that the candidate can help; and where another one's index has to go first."""
        try:
            await self.indexes.prepare(model)
        except Conflict:
            if await self.moves.made_room(model):
                raise Unavailable("room for another index") from None
            return Loaded("failed", "refused")
        return await self._prepared(model)

    async def _prepared(self, model: Model) -> Loaded:
        moved = self.clock()
        failing_since, done = -1.0, -1
        while (loaded := await self.indexes.loaded(model)).state != "up":
            now = self.clock()
            failing_since = (now if failing_since < 0 else failing_since) if loaded.state == "failed" else -1.0
            moved, done = (now, loaded.done) if loaded.done != done else (moved, done)
            if failing_since >= 0 and now - failing_since > self.patience.failing:
                return loaded
            if now - moved > self.patience.stalled:
                raise Unavailable("the index of the candidate")
            await self.sleep(self.patience.look)
        return loaded

    async def examined(self, run: Run, model: Model) -> Examined:
        """See Examiner."""
        champion = await self._champion(model)
        try:
            found = await self._findings(run, model, champion)
        except (Conflict, Denied, NotFound):
            # The snapshot may not be read any more, or an index is gone: nothing was measured, which opens nothing.
            found = SearchFindings(losses=model.losses, bytes=model.bytes)
        return Examined(lines_of_search(self.gate, found), champion or HOUSES_OWN)

    async def _champion(self, model: Model) -> str:
        """What is live; what is condemned goes in any case, and is no bar for what replaces it."""
        answers = await self.indexes.answers(model.tenant)
        return sound(await self.moves.shelf.all(model.tenant), answers)

    async def _findings(self, run: Run, model: Model, champion: str) -> SearchFindings:
        rules = await self.moves.rules(model.tenant)
        most = rules.gate_cases
        questions = await self.questions.held_out(model.tenant, run.snapshot.dataset_id, most=most)
        return SearchFindings(
            lines=await self._searched(model, champion, questions),
            must_pass=await self._must_pass(model, champion, rules.must_pass, most=most),
            losses=model.losses,
            bytes=model.bytes,
        )

    async def _must_pass(self, model: Model, champion: str, series: str, *, most: int) -> Sequence[Line] | None:
        """The tenant's own rows; None where it names none. A series that is not there is no way around it."""
        if not series:
            return None
        try:
            dataset_id = await self.questions.newest_of(model.tenant, series)
            questions = await self.questions.held_out(model.tenant, dataset_id, most=most)
        except (Conflict, Denied, NotFound):
            return ()
        return await self._searched(model, champion, questions)

    async def _searched(self, model: Model, champion: str, questions: Sequence[Question]) -> list[Line]:
        return lines_of([await self._ranked(model, champion, one) for one in questions if one.is_answered])

    async def _ranked(self, model: Model, champion: str, question: Question) -> Ranked:
        by_champion, by_candidate = [
            place_of(question, await self.indexes.search(model.tenant, question.text, embedder=by, most=PLACES))
            for by in (champion, model.model)
        ]
        return Ranked(question.kind, question.group, by_champion, by_candidate)
