"""How generators are judged: a candidate is loaded for trials, asked the held-out rows beside the champion, and held to
the rules.

What was begun elsewhere is noted in the books, and what could not be noted in time is found again by what it is (a
variant by its content, a run of questions by its rows and arms).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from headrace_runtime.errors import Conflict, Denied, NotFound

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.gate import Findings, Line, lines_of
from headrace_trainer.registry.models import Model, Trial, Variant
from headrace_trainer.registry.ports import Asking, Compared, Loaded, Serving
from headrace_trainer.registry.rollout import ANY
from headrace_trainer.registry.rules import Gate, Setting
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.targets import Examined
from headrace_trainer.registry.waiting import until_up
from headrace_trainer.running.ports import Loop
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import Run, Target

#: What a candidate's variant is called: each model is a version of it.
TUNED = "tuned"
#: The house's own variant, which answers where a tenant has no route.
DEFAULT = "default"
SETTINGS: tuple[Setting, ...] = ("as_served", "own_words")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds. failing: for a model that inference could not load, since it tries again."""

    look: float = 0.5
    loading: float = 600.0
    failing: float = 20.0
    asking: float = 7_200.0


@dataclass(frozen=True, slots=True)
class Bench:
    """See targets.Examiner. sleep, clock: in seconds."""

    shelf: Shelf
    serving: Serving
    asking: Asking
    loop: Loop
    gate: Gate
    sleep: Callable[[float], Awaitable[None]]
    clock: Callable[[], float]
    patience: Patience = Patience()

    async def tried(self, model: Model) -> Loaded:
        """See Examiner. Inference tries again what it could not load, so one failure is none yet."""
        patience = self.patience
        return await until_up(
            lambda: self.serving.loaded(model.tenant, model.version),
            look=patience.look,
            loading=patience.loading,
            failing=patience.failing,
            sleep=self.sleep,
            clock=self.clock,
        )

    async def examined(self, run: Run, model: Model) -> Examined:
        """See Examiner."""
        try:
            found = await _findings(self, run, model)
        except (Conflict, Denied, NotFound):
            # The snapshot may not be asked any more, or a variant is broken: nothing was measured, which opens nothing.
            found = Findings(losses=model.losses, bytes=model.bytes, memorisation=model.memorisation)
        return Examined(lines_of(self.gate, found), await _champion_name(self.shelf, model))


async def _findings(bench: Bench, run: Run, model: Model) -> Findings:
    rules = await _rules(bench, model.tenant)
    trial = await _trial(bench, model, rules)
    if trial.champion is None or trial.candidate is None:
        raise Conflict("a trial without its variants")
    pair = (trial.champion, trial.candidate)
    reports = await _ask(bench, model, run.snapshot.dataset_id, pair, SETTINGS, most=rules.gate_cases)
    served, own = reports["as_served"], reports["own_words"]
    must_pass = await _must_pass(bench, model, rules, pair)
    missing = max(served.answers_a - served.answers_b, own.answers_a - own.answers_b, 0)
    return Findings(
        reports={"as_served": served.lines, "own_words": own.lines},
        must_pass=must_pass,
        losses=model.losses,
        bytes=model.bytes,
        memorisation=model.memorisation,
        failed=missing,
        asked=min(served.answers_a, own.answers_a),
    )


async def _trial(bench: Bench, model: Model, rules: Rules) -> Trial:
    """Champion and candidate as variants; the same again once they are noted."""
    if model.trial.champion and model.trial.candidate:
        return model.trial
    answers = await champion_of(bench.shelf, bench.serving, model.tenant, model.target, rules)
    # One that is condemned goes in any case: what is to be beaten is what would answer in its place.
    champion = shelves.sound(await bench.shelf.all(model.tenant), answers)
    candidate = await bench.serving.put_variant(model.tenant, champion, name=TUNED, model_version=model.version)
    trial = replace(model.trial, champion=champion, candidate=candidate)
    async with bench.shelf.open(model.tenant) as (_, books):
        current = await books.get(model.tenant, model.model)
        if current is not None:
            await books.save(replace(current, trial=trial, variant=candidate))
    return trial


async def champion_of(shelf: Shelf, serving: Serving, tenant: str, target: Target, rules: Rules) -> Variant:
    """Who answers now: the live model's variant; else the one that the rules name, in the version that the route for
    everything has; else the one with most of that route; else the house's own. Raises Conflict where there is none."""
    live = shelves.live_of(await shelf.all(tenant), target)
    if live is not None and live.variant is not None:
        return live.variant
    arms = [arm for route in await serving.routes(tenant) if route.kind == ANY for arm in route.arms]
    named = [arm for arm in arms if rules.champion_variant in ("", arm.variant.name)]
    if named:
        return max(named, key=lambda arm: arm.weight).variant
    name = rules.champion_variant or DEFAULT
    found = await serving.variant(tenant, name)
    if found is None:
        raise Conflict(f"there is no variant {name} to hold a model against")
    return found


async def _ask(
    bench: Bench,
    model: Model,
    dataset_id: str,
    pair: tuple[Variant, Variant],
    settings: Sequence[Setting],
    *,
    most: int,
) -> dict[Setting, Compared]:
    """Has the rows asked of both in each setting, waits, and compares."""
    champion, candidate = pair
    arms = [(variant, setting) for setting in settings for variant in pair]
    run_id = await bench.asking.begin(model.tenant, dataset_id, arms, most=most)
    began = bench.clock()
    while not (standing := await bench.asking.standing(model.tenant, run_id)).is_over:
        if bench.clock() - began > bench.patience.asking:
            break
        await bench.sleep(bench.patience.look)
    if standing.failure:
        raise Conflict(f"the questions could not be asked: {standing.failure}")
    compare = bench.asking.compare
    return {setting: await compare(model.tenant, run_id, champion, candidate, setting) for setting in settings}


async def _must_pass(bench: Bench, model: Model, rules: Rules, pair: tuple[Variant, Variant]) -> Sequence[Line] | None:
    """The tenant's own rows; None where it names none. A series that is not there is no way around it."""
    if not rules.must_pass:
        return None
    try:
        dataset_id = await bench.asking.newest_of(model.tenant, rules.must_pass)
        reports = await _ask(bench, model, dataset_id, pair, ("as_served",), most=rules.gate_cases)
    except (Conflict, Denied, NotFound):
        return ()
    return reports["as_served"].lines


async def _champion_name(shelf: Shelf, model: Model) -> str:
    """The champion as a model, where it is one that was trained; else as its variant."""
    models = await shelf.all(model.tenant)
    current = next((one for one in models if one.model == model.model), model)
    if current.trial.champion is None:
        return ""
    found = shelves.by_variant(models, current.trial.champion)
    return found.model if found else str(current.trial.champion)


async def _rules(bench: Bench, tenant: str) -> Rules:
    async with bench.shelf.ledger.unit(tenant=tenant) as unit:
        return await bench.loop.rules_of(unit, tenant)
