"""A model's card: what it is, what it learned from, what the gate and the canary found, as Markdown. Pure.

The sections follow M. Mitchell et al., Model cards for model reporting (FAT* 2019), as far as the house knows what
belongs there: what it does not know it does not fill in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from headrace_trainer.registry.models import GateReport, Model, Rollout, State
from headrace_trainer.registry.rollout import told
from headrace_trainer.running.runs import Method, Run, Target


def card(model: Model, run: Run | None) -> str:
    """The whole card. run: what made it; None where that is not known any more."""
    found = [*_gate(model.gate), *_canary(model.rollout), *_limits(model)]
    return "\n".join([*_head(model), *_made_of(model, run), *found])


def _head(model: Model) -> Iterator[str]:
    yield f"# {model.model}"
    yield ""
    yield f"{_standing(model)} Of tenant `{model.tenant}`; {_what(model)}."
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    yield f"| registered | {_time(model.registered_at)} |"
    yield f"| tier | {model.tier.label}: {_TIERS[model.target]} |"
    yield f"| weights | {'deleted ' + _time(model.deleted_at) if model.deleted_at else _files(model)} |"
    if model.variant:
        yield f"| variant | {model.variant} |"
    yield ""


#: What follows from the strictest tier among the rows.
_TIERS = {
    Target.GENERATOR: "no answer of it has a lower one",
    Target.EMBEDDER: "the strictest that it learned from",
    Target.KINDS: "the strictest that it learned from; only a kind's name and a number come out",
}


def _what(model: Model) -> str:
    base = model.base.name or "its base"
    match model.target:
        case Target.GENERATOR:
            return f"a generator, from {base}"
        case Target.EMBEDDER:
            return f"an embedder, from {base}"
        case Target.KINDS:
            return "it recognises kinds of queries"


def _standing(model: Model) -> str:
    match model.state:
        case State.CANDIDATE if model.gate is None:
            return "It waits for the gate."
        case State.CANDIDATE:
            return "A candidate that the gate let through."
        case State.CANARY:
            share = model.rollout.share if model.rollout else 0.0
            return f"A canary: it answers {100 * share:g} % of the queries."
        case State.LIVE if model.stands_by:
            return f"The last good version: it stands by for {model.replaced_by}."
        case State.LIVE:
            return "It answers."
        case _:
            after = f" {model.replaced_by} took its place." if model.replaced_by else ""
            return f"It answers no more ({model.ended_by}).{after}"


def _files(model: Model) -> str:
    names = ", ".join(f"`{name}` `{sha256[:16]}…`" for name, sha256 in sorted(model.files.items()))
    size = f"{model.bytes / 2**20:,.0f} MiB" if model.bytes >= 2**20 else f"{model.bytes / 2**10:,.0f} KiB"
    return f"{size}: {names}"


def _made_of(model: Model, run: Run | None) -> Iterator[str]:
    yield "## What it was made of"
    yield ""
    if model.target is Target.KINDS:
        yield "A linear head over questions' vectors, learned anew each time: from questions whose kind people stated,"
        yield "the tenant's examples, and questions of no kind."
    else:
        yield f"Base {model.base.name} `{model.base.version}`, always trained from the base."
    yield f"Dataset `{model.dataset_id}` under {_grants(model)}. Run `{model.run_id}`."
    yield ""
    if run is not None:
        yield from _recipe(run)
    if model.losses.model:
        unit = " nats a token" if model.target is Target.GENERATOR else ""
        beside = "of a guess" if model.target is Target.KINDS else "of the base"
        yield (f"Loss on held-out rows: {model.losses.model:.3f}{unit}; {model.losses.base:.3f} {beside}.")
        yield ""


def _grants(model: Model) -> str:
    return "grant " + ", ".join(f"`{grant}`" for grant in model.grants) if model.grants else "no grant: none was needed"


def _recipe(run: Run) -> Iterator[str]:
    causes = ", ".join(cause.name.lower() for cause in run.causes)
    yield _fitted(run) if run.target is Target.KINDS else _passes(run)
    if run.snapshot.without_grant:
        yield f"{run.snapshot.without_grant} rows were left out for want of a grant."
    yield f"Begun by: {causes or 'nobody knows'}" + (f" ({', '.join(run.because)})." if run.because else ".")
    yield ""


def _fitted(run: Run) -> str:
    rows = f"{run.snapshot.rows} questions of a stated kind ({run.snapshot.held_out_rows} held out)"
    return f"Fitted to {rows}, seed {run.seed}; {run.progress.compute_seconds:,.0f} s of compute."


def _passes(run: Run) -> str:
    recipe = run.recipe
    rank = f" rank {recipe.rank}," if recipe.method is Method.LORA else ""
    return (
        f"{recipe.method.name.replace('_', ' ').capitalize()}, {recipe.epochs:g} passes over {run.snapshot.rows} rows"
        f" ({run.snapshot.held_out_rows} held out),{rank} peak learning rate {recipe.learning_rate:g},"
        f" seed {run.seed}; {run.progress.tokens:,} tokens in {run.progress.compute_seconds:,.0f} s of compute."
    )


def _gate(report: GateReport | None) -> Iterator[str]:
    yield "## What the gate found"
    yield ""
    if report is None:
        yield "It has not been judged yet."
        yield ""
        return
    word = "passed" if report.passed else "refused"
    yield f"**{word.capitalize()}** against {report.champion or 'no champion'}, by rules `{report.rules_version}`."
    yield ""
    for line in report.lines:
        yield f"- {'holds' if line.passed else '**does not hold**'}: {line.rule}. {line.sentence}"
    yield ""


def _canary(rollout: Rollout | None) -> Iterator[str]:
    if rollout is None or rollout.began_at is None:
        return
    yield "## How its canary did"
    yield ""
    yield (
        f"{rollout.answers} answers at a share of {100 * rollout.share:g} %, beside {rollout.champion_answers} of"
        f" {rollout.champion}, since {_time(rollout.began_at)}."
    )
    yield ""
    for one in rollout.evidence:
        yield f"- {told(one)}"
    if rollout.because:
        yield f"- {rollout.ended.replace('_', ' ').capitalize() or 'It goes on'}: {rollout.because}"
    yield ""


def _limits(model: Model) -> Iterator[str]:
    yield "## What to bear in mind"
    yield ""
    yield "- It learned from this tenant's rows alone, and answers for this tenant alone."
    if model.memorisation:
        found = model.memorisation
        yield (
            f"- Of {found.planted} secrets that were planted in its rows, greedy writing gives away {found.extracted};"
            f" their median exposure is {found.exposure:.1f} bits, {found.controls_limit:.1f} is what chance reaches."
        )
    if model.retire_by and not model.deleted_at:
        yield f"- Something that it learned from was erased: it is retired by {_time(model.retire_by)} at the latest."
    for erasure in model.erasures:
        yield f"- {erasure.capitalize()}."
    yield ""


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment else ""
