"""Having a candidate judged: measured as its target is, and decided once. See targets.Examiner."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace_runtime.errors import NotFound

from headrace_trainer.registry.gate import report_of
from headrace_trainer.registry.models import Change, Model, State, judged
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.targets import Examined, Targets
from headrace_trainer.registry.telling import tell
from headrace_trainer.running.ports import Verdict
from headrace_trainer.running.runs import BY_ITSELF, Run


@dataclass(frozen=True, slots=True)
class Court:
    """Where it is decided. rules_version: of the gate's rules."""

    shelf: Shelf
    targets: Targets
    rules_version: str

    async def judge(self, run: Run, name: str) -> Verdict:
        """Raises Unavailable, to be called again; NotFound for a model that there is none of."""
        model = await self.shelf.get(run.tenant, name)
        if model is None:
            raise NotFound("model", name)
        if (verdict := _known(model)) is not None:
            return verdict
        examiner = self.targets.of(model).examiner
        loaded = await examiner.tried(model)
        if loaded.state != "up":
            return await self._refuse_unloaded(model, loaded)
        return await self._decide(model, await examiner.examined(run, model))

    async def _refuse_unloaded(self, model: Model, loaded: Loaded) -> Verdict:
        async with self.shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is State.CANDIDATE:
                now = self.shelf.now()
                why = f"not_loaded {loaded.failure}".strip()
                gone = replace(current, state=State.RETIRED, ended_by=why, changed_at=now)
                await books.save(gone)
                tell(unit, gone, Change.RETIRED, before=current.state, because="gate", by=BY_ITSELF, now=now)
        return Verdict(passed=False, failure="not_loaded")

    async def _decide(self, model: Model, found: Examined) -> Verdict:
        async with self.shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is None:
                raise NotFound("model", model.model)
            if (verdict := _known(current)) is not None:
                return verdict
            now = self.shelf.now()
            report = report_of(found.lines, champion=found.champion, version=self.rules_version, now=now)
            after = judged(current, report, now=now)
            await books.save(after)
            if not report.passed:
                tell(unit, after, Change.RETIRED, before=current.state, because="gate", by=BY_ITSELF, now=now)
        return Verdict(report.passed, "" if report.passed else "gate_refused")


def _known(model: Model) -> Verdict | None:
    if model.is_condemned:
        return Verdict(passed=False, failure="erased")
    if model.gate is not None:
        return Verdict(model.gate.passed, "" if model.gate.passed else "gate_refused")
    return Verdict(passed=False, failure=model.ended_by or "retired") if model.state is State.RETIRED else None
