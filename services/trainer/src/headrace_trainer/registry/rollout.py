"""A canary's way: which routes it takes a share of, when it is promoted, and when it is taken out. Pure.

A route is only ever written over what the registry itself wrote there, or found there when it began: one that somebody
has changed meanwhile is theirs, and the rollout gives way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from headrace_trainer.registry import evidence
from headrace_trainer.registry.evidence import Sample
from headrace_trainer.registry.models import Arm, Because, Evidence, Measure, Model, Rollout, Route, Touched, Variant
from headrace_trainer.running.rules import Rules

#: Whatever has no route of its own.
ANY = "*"

Phase = Literal["canary", "live", "as_found"]
PHASES: tuple[Phase, ...] = ("canary", "live", "as_found")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a canary now. words: why, in a sentence."""

    does: Literal["goes_on", "promote", "wait_for_person", "roll_back"]
    because: Because = "evidence"
    words: str = ""


GOES_ON = Decision("goes_on")


def plan(routes: Sequence[Route], champion: Variant, rules: Rules) -> tuple[Touched, ...]:
    """Which routes a rollout changes: those in force in which the champion is an arm, of the kinds that the rules
    name. A kind without a route of its own gets one made of that of the rest; where the tenant has none at all, one is
    made for everything. Empty: nothing sends anything to the champion."""
    in_force = {route.kind: route for route in routes}
    wanted = rules.canary_kinds or (tuple(in_force) or (ANY,))
    return tuple(
        Touched(kind, in_force.get(kind))
        for kind in dict.fromkeys(wanted)
        if _sends_to(in_force.get(kind) or in_force.get(ANY), champion)
    )


def _sends_to(route: Route | None, champion: Variant) -> bool:
    """Without any route the house's default answers, which the champion then is."""
    return route is None or any(arm.variant == champion for arm in route.arms)


@dataclass(frozen=True, slots=True)
class Field:
    """What a rollout plays on. rest: the route for whatever has none of its own. stand_ins: whom a variant of a model
    that answers no more is replaced by."""

    champion: Variant
    candidate: Variant
    share: float
    rest: Route | None = None
    stand_ins: Mapping[Variant, Variant] = field(default_factory=dict)


def wanted(touched: Touched, phase: Phase, on: Field) -> Route | None:
    """How a route is to be in a phase; None: there is to be none."""
    if phase == "as_found":
        return _purged(touched.found, on) if touched.found else None
    start = touched.found or _own(touched.kind, on.rest) or Route(touched.kind, (Arm(on.champion, 1.0),))
    changed = _with_canary(start, on) if phase == "canary" else _live(start, on)
    return _purged(changed, on)


def _own(kind: str, rest: Route | None) -> Route | None:
    return replace(rest, kind=kind) if rest else None


def _with_canary(route: Route, on: Field) -> Route:
    """Takes the canary's share of the whole from the champion, at most half of what it has, and has the champion stand
    in. Scales nothing else, so that nobody else's conversations move."""
    total = sum(arm.weight for arm in route.arms)
    its = sum(arm.weight for arm in route.arms if arm.variant == on.champion)
    if not its:
        return route
    taken = min(on.share * total, its / 2)
    left = (its - taken) / its
    arms = (replace(a, weight=a.weight * left) if a.variant == on.champion else a for a in route.arms)
    fallbacks = _first(on.champion, route.fallbacks)
    return replace(route, arms=(*arms, Arm(on.candidate, taken)), fallbacks=fallbacks)


def _live(route: Route, on: Field) -> Route:
    arms = tuple(replace(arm, variant=on.candidate) if arm.variant == on.champion else arm for arm in route.arms)
    return replace(route, arms=arms, fallbacks=_first(on.champion, route.fallbacks))


def held_anew(rollout: Rollout, on: Field) -> Rollout:
    """A rollout whose champion answers no more: whoever stands in for it is the champion from now on, and what was
    counted beside the one before counts no more."""
    routes = (replace(one, found=_purged(one.found, on) if one.found else None) for one in rollout.routes)
    champion = on.stand_ins.get(rollout.champion, rollout.champion)
    return replace(
        rollout, champion=champion, routes=tuple(routes), answers=0, champion_answers=0, evidence=(), because=""
    )


def names_gone(rollout: Rollout, on: Field) -> bool:
    """Whether a route that it wrote still names what answers no more."""
    return any(rollout.names(gone) for gone in on.stand_ins)


def _purged(route: Route, on: Field) -> Route:
    """Without what answers no more."""
    weights: dict[Variant, float] = {}
    for arm in route.arms:
        variant = on.stand_ins.get(arm.variant, arm.variant)
        weights[variant] = weights.get(variant, 0.0) + arm.weight
    fallbacks = dict.fromkeys(on.stand_ins.get(variant, variant) for variant in route.fallbacks)
    arms = tuple(Arm(variant, weight) for variant, weight in weights.items())
    if len(arms) == 1:
        # Nobody stands in for itself.
        fallbacks.pop(arms[0].variant, None)
    return replace(route, arms=arms, fallbacks=tuple(fallbacks))


def _first(variant: Variant, others: Sequence[Variant]) -> tuple[Variant, ...]:
    return (variant, *(other for other in others if other != variant))


def is_ours(touched: Touched, now: Route | None, on: Field) -> bool:
    """Whether a route is as it was found, or as the registry would have left it, so that it may be written over. A
    process killed between writing a route and noting that it did so finds its own work."""
    if now is None:
        return touched.found is None
    plain = replace(on, stand_ins={})
    ours = [touched.found, touched.wrote]
    ours += [wanted(touched, phase, each) for phase in PHASES for each in (on, plain)]
    return any(one is not None and one.same_as(now) for one in ours)


def share_of(model_rules: Rules) -> float:
    """The canary's share of the queries, above 0 and at most half."""
    return min(max(model_rules.canary_share, 0.001), 0.5)


def begin(rules: Rules, champion: Variant, routes: tuple[Touched, ...]) -> Rollout:
    """A rollout by the rules of now: a change of rules counts for the next one."""
    return Rollout(
        share=share_of(rules),
        margin=rules.canary_margin,
        least_answers=rules.canary_least_answers,
        most_seconds=rules.canary_most_seconds,
        by_itself=rules.promote_by_itself,
        champion=champion,
        routes=routes,
    )


def started(rollout: Rollout, *, now: datetime) -> Rollout:
    """Its clock runs from when the routes are written."""
    return replace(rollout, began_at=now, until=now + timedelta(seconds=rollout.most_seconds))


def looked_at(rollout: Rollout, sample: Sample) -> Rollout:
    """With what is seen up to now."""
    return replace(
        rollout,
        answers=sample.count("canary"),
        champion_answers=sample.count("champion"),
        evidence=evidence.weigh(sample, margin=rollout.margin),
    )


def decide(
    model: Model, sample: Sample, *, now: datetime, paused: bool, counts: Sequence[Measure] = evidence.GUARDED
) -> Decision:
    """What becomes of a canary now, by `model.rollout` as it was looked at with this sample.

    counts: the measures by which it is held against the champion.

    What is bad is acted upon first, paused or not; a promotion waits while the loop is paused.
    """
    rollout = model.rollout
    if rollout is None or rollout.until is None:
        return GOES_ON
    if model.is_condemned:
        return Decision("roll_back", "erasure", "Something that it learned from was erased.")
    if rollout.has_given_way:
        return Decision("roll_back", "person", "Somebody changed every route that it had a share of; theirs stand.")
    counted = replace(rollout, evidence=tuple(one for one in rollout.evidence if one.measure in counts))
    bad = _bad(counted, sample)
    if bad:
        return bad
    asked = [measure for measure in evidence.PROVEN if measure in counts]
    if _is_proven(counted, asked):
        return _promotion(counted, now=now, paused=paused)
    return _late(counted, asked) if now >= rollout.until else GOES_ON


def _bad(rollout: Rollout, sample: Sample) -> Decision | None:
    broken = evidence.breaker(sample)
    if broken:
        return Decision("roll_back", "failing", _BROKEN[broken])
    worse = [one for one in rollout.evidence if one.verdict == "worse"]
    if worse:
        because: Because = "failing" if {one.measure for one in worse} & {"failed", "slow"} else "evidence"
        return Decision("roll_back", because, " ".join(told(one) for one in worse))
    return None


_BROKEN = {
    "failed": "It failed more often than any canary may (one query in ten).",
    "slow": "More than half of its answers were slower than nineteen in twenty of the champion's.",
}


def _is_proven(rollout: Rollout, asked: Sequence[Measure]) -> bool:
    return rollout.answers >= rollout.least_answers and not _unproven(rollout, asked)


def _unproven(rollout: Rollout, asked: Sequence[Measure]) -> list[Measure]:
    seen = {one.measure: one.verdict for one in rollout.evidence}
    return [measure for measure in asked if seen.get(measure) not in ("not_worse", "better")]


def _promotion(rollout: Rollout, *, now: datetime, paused: bool) -> Decision:
    better = [one for one in rollout.evidence if one.verdict == "better"]
    margin = f"not worse by {100 * rollout.margin:g} points or more on any measure"
    words = " ".join([f"After {rollout.answers} answers it is proven {margin}.", *(told(one) for one in better)])
    if rollout.by_itself and not paused:
        return Decision("promote", "evidence", words)
    if rollout.until is not None and now >= rollout.until and not paused:
        return Decision("roll_back", "time_limit", f"{words} Nobody promoted it in its time.")
    return Decision("wait_for_person", "person", words)


def _late(rollout: Rollout, asked: Sequence[Measure]) -> Decision:
    lacking = ", ".join(_unproven(rollout, asked)) or "enough answers"
    words = f"Its time is over after {rollout.answers} answers, and this was not proven: {lacking}."
    return Decision("roll_back", "time_limit", words)


_WORDS = {
    "failed": "queries failed",
    "slow": "answers were slow",
    "grounded": "answers were grounded",
    "refused": "answers were refused",
    "thumbs": "thumbs were up",
}


def told(one: Evidence) -> str:
    """ "12.0 % of answers were slow, 4.0 % of the champion's: worse (+2.1 to +13.9 points at any time)."."""
    low, high = (f"{100 * end:+.1f}".replace("-", "\N{MINUS SIGN}") for end in (one.low, one.high))
    return (
        f"{100 * one.canary:.1f} % of {_WORDS[one.measure]}, {100 * one.champion:.1f} % of the champion's:"
        f" {one.verdict.replace('_', ' ')} ({low} to {high} points at any time)."
    )
