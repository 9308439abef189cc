"""From a cause to a run: two at once become one.

    cause ──▶ is there a run that waits? ── yes ──▶ folded into it
                       └── no ──▶ a run that waits until its first cause is old enough

Causes that are held, since documents are missing that a steward has to bring, go along with the next cause; the trace
of the first of all is the run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from headrace_trainer.running.ports import Books, Noted
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import BY_ITSELF, Base, Cause, Person, Recipe, Run, State, Target, recipe_for

#: Of what is behind a run, so many are kept.
BECAUSE = 100
#: So often the same is begun anew, where a run lost its snapshot: more would be no accident.
MOST_AGAIN = 3
_AGAIN = "run "


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks to be trained. What is None, or "", is as the rules say."""

    tenant: str
    target: Target
    cause: Cause
    because: tuple[str, ...] = ()
    dataset: str = ""
    query: bytes | None = None
    recipe: Recipe | None = None
    base: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a cause comes from. cause_id: the same for the same cause. run_id: the run's, if one is begun."""

    cause_id: UUID
    run_id: UUID
    traceparent: str
    by: Person = BY_ITSELF


async def hold_cause(books: Books, wish: Wish, origin: Origin) -> None:
    """Notes a cause that starts nothing by itself."""
    await books.add_cause(wish.tenant, _noted(wish, origin, await books.now()))


async def ask(books: Books, wish: Wish, origin: Origin) -> tuple[Run, bool] | None:
    """Has a run start, or folds the cause into the one that waits; says whether it is new. None for a cause that came
    before."""
    await books.hold(wish.tenant)
    now = await books.now()
    if not await books.add_cause(wish.tenant, _noted(wish, origin, now)):
        return None
    causes = await books.held(wish.tenant, wish.target)
    rules, waiting = await books.rules(wish.tenant), await books.waiting(wish.tenant, wish.target)
    if waiting is None:
        run = _new(wish, origin, causes, rules=rules, now=now)
        await books.add(run)
    else:
        run = _folded(waiting, wish, origin, causes, now=now)
        await books.fold(run)
    await books.attach(wish.tenant, [one.cause_id for one in causes], run.run_id)
    return run, waiting is None


async def change_rules(books: Books, tenant: str, rules: Rules) -> None:
    """Stores a version of the rules. A run that waits for more causes waits, from when it was asked for, as long as
    these say."""
    await books.put_rules(tenant, rules)
    for target in Target:
        run = await books.waiting(tenant, target)
        if run is not None and not run.by_person:
            await books.fold(replace(run, begin_at=run.created_at + timedelta(seconds=rules.debounce_seconds)))


def _noted(wish: Wish, origin: Origin, now: datetime) -> Noted:
    return Noted(origin.cause_id, wish.target, wish.cause, wish.because, origin.traceparent, now)


def _new(wish: Wish, origin: Origin, causes: Sequence[Noted], *, rules: Rules, now: datetime) -> Run:
    waits = timedelta() if wish.cause is Cause.PERSON else timedelta(seconds=rules.debounce_seconds)
    return Run(
        run_id=origin.run_id,
        tenant=wish.tenant,
        target=wish.target,
        wanted=wish.dataset,
        query=rules.query if wish.query is None else wish.query,
        base=Base(wish.base or (rules.base if wish.target is Target.GENERATOR else "")),
        recipe=wish.recipe or recipe_for(wish.target, generators=rules.recipe),
        seed=wish.seed,
        causes=_causes(causes),
        because=_because(causes),
        traceparent=causes[0].traceparent,
        by=origin.by,
        created_at=now,
        begin_at=now + waits,
        state=State.WAITING,
    )


def _folded(run: Run, wish: Wish, origin: Origin, causes: Sequence[Noted], *, now: datetime) -> Run:
    """A person's word about what to learn, and how, goes before what the rules said when the run began to wait."""
    run = replace(
        run,
        causes=tuple(dict.fromkeys((*run.causes, *_causes(causes)))),
        because=tuple(dict.fromkeys((*run.because, *_because(causes))))[:BECAUSE],
    )
    if wish.cause is not Cause.PERSON:
        return run
    return replace(
        run,
        wanted=wish.dataset or ("" if wish.query is not None else run.wanted),
        query=run.query if wish.query is None else wish.query,
        base=Base(wish.base) if wish.base else run.base,
        recipe=wish.recipe or run.recipe,
        seed=wish.seed or run.seed,
        by=origin.by,
        begin_at=now,
    )


def _causes(noted: Sequence[Noted]) -> tuple[Cause, ...]:
    return tuple(dict.fromkeys(one.cause for one in noted))


def _because(noted: Sequence[Noted]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for one in noted for word in one.because))[:BECAUSE]


def again(run: Run) -> Wish | None:
    """What is to be trained instead of a run that lost its snapshot: the same, without what is gone. None for one that
    was asked for by its snapshot's name, since which other would they want, and for one that lost too many."""
    before = sum(word.startswith(_AGAIN) for word in run.because)
    if run.wanted or before >= MOST_AGAIN:
        return None
    return Wish(
        tenant=run.tenant,
        target=run.target,
        cause=run.causes[0],
        because=(f"{_AGAIN}{run.run_id}", *run.because),
        query=run.query,
        recipe=run.recipe,
        base=run.base.name,
        seed=run.seed,
    )
