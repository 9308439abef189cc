"""Routes and kinds in words, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.inference.v1.routes_pb2 import (
    ExplainRouteResponse,
    GetKindsResponse,
    Kind,
    KindQuality,
    Limits,
    PutKindsResponse,
    Route,
    VariantReference,
)
from headrace.query.v1.answer_pb2 import Routing

from headrace_client.cli.governance import json_moment, moment
from headrace_client.cli.shares import percent, shares_of
from headrace_client.tiers import tier_label, tier_word

#: Of the table of routes.
COLUMNS = ["kind", "version", "variants", "fallbacks", "shadows", "limits", "by", "when", "why"]


def variant_word(variant: VariantReference) -> str:
    """ "shorter 2"."""
    return f"{variant.name} {variant.version}"


def shares_words(route: Route) -> str:
    """ "90 % default 1, 10 % shorter 2"."""
    return ", ".join(f"{percent(share)} {variant}" for variant, share in shares_of(route).items())


def limits_words(limits: Limits) -> str:
    """What an answer may take; "" where there is no limit."""
    words = [
        f"${limits.cost_micro_usd / 1e6:g} an answer" if limits.cost_micro_usd else "",
        f"${limits.daily_budget_micro_usd / 1e6:g} a day" if limits.daily_budget_micro_usd else "",
        f"{limits.latency_ms} ms" if limits.latency_ms else "",
        f"up to {tier_word(limits.max_tier)}" if limits.max_tier else "",
    ]
    return ", ".join(filter(None, words))


def route_row(route: Route) -> list[str]:
    """One line of the table."""
    return [
        route.kind,
        f"{route.version}{' (taken away)' if route.deleted else ''}",
        shares_words(route),
        ", ".join(map(variant_word, route.fallbacks)),
        ", ".join(f"{percent(shadow.share)} {variant_word(shadow.variant)}" for shadow in route.shadows),
        limits_words(route.limits),
        route.created_by,
        moment(route.created_at),
        route.reason,
    ]


def route_json(route: Route) -> dict[str, Any]:
    """The object that `--json` prints."""
    limits = route.limits
    return {
        "kind": route.kind,
        "version": route.version,
        "arms": [{"variant": _key_json(arm.variant), "weight": arm.weight} for arm in route.arms],
        "fallbacks": [_key_json(variant) for variant in route.fallbacks],
        "shadows": [{"variant": _key_json(shadow.variant), "share": shadow.share} for shadow in route.shadows],
        "limits": {
            "cost_micro_usd": limits.cost_micro_usd,
            "daily_budget_micro_usd": limits.daily_budget_micro_usd,
            "latency_ms": limits.latency_ms,
            "max_tier": tier_label(limits.max_tier),
        },
        "created_by": route.created_by,
        "created_at": json_moment(route.created_at),
        "reason": route.reason,
        "deleted": route.deleted,
    }


def _key_json(variant: VariantReference) -> dict[str, Any]:
    return {"name": variant.name, "version": variant.version}


_REASONS = {
    "share": "by its share of the traffic",
    "conversation": "since it is the variant of this conversation",
    "fallback": "as a fallback",
    "default": "as the default of the house",
}
_OBSTACLES = {
    "tier": "may not see this tier",
    "cost": "costs too much",
    "latency": "would take too long",
    "rate": "is asked too often just now",
    "budget": "would exceed the day's budget",
    "failed": "fails just now",
    "broken": "is broken",
}


def explained_lines(found: ExplainRouteResponse) -> list[str]:
    """What would happen, in words."""
    routing = found.routing
    backend = f", on {routing.backend}" if routing.backend else ""
    why = _REASONS.get(routing.reason, routing.reason)
    lines = [f"{found.variant.name} {found.variant.version} would answer{backend}, {why}.", _kind_line(routing)]
    lines += [
        f"  not {one.variant.name} {one.variant.version}: it {_OBSTACLES.get(one.reason, one.reason)}"
        for one in routing.passed_over
    ]
    if found.scores:
        lines += ["", *(f"  {percent(score.confidence):>5}  {score.kind}" for score in found.scores[:8])]
    return lines


def _kind_line(routing: Routing) -> str:
    by = f", by {routing.kinds_model}" if routing.kinds_model else ""
    sure = f" ({percent(routing.confidence)} sure{by})" if routing.confidence else ""
    through = f"route {routing.route}, version {routing.route_version}" if routing.route else "no route"
    return f"Kind: {routing.kind}{sure}; {through}."


def explained_json(found: ExplainRouteResponse) -> dict[str, Any]:
    """The object that `--json` prints."""
    routing = found.routing
    return {
        "variant": {"name": found.variant.name, "version": found.variant.version},
        "kind": routing.kind,
        "confidence": routing.confidence,
        "kinds_version": routing.kinds_version,
        "kinds_model": routing.kinds_model,
        "route": routing.route,
        "route_version": routing.route_version,
        "reason": routing.reason,
        "backend": routing.backend,
        "passed_over": [
            {"variant": {"name": one.variant.name, "version": one.variant.version}, "reason": one.reason}
            for one in routing.passed_over
        ],
        "scores": [{"kind": score.kind, "confidence": score.confidence} for score in found.scores],
    }


def quality_table(quality: Iterable[KindQuality]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows."""
    rows = [
        [one.kind, str(one.examples), percent(one.recall), percent(one.precision), one.mistaken_for] for one in quality
    ]
    return ["kind", "examples", "recognised", "rightly", "mistaken for"], rows


def quality_json(found: PutKindsResponse | GetKindsResponse) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "version": found.version,
        "quality": [
            {
                "kind": one.kind,
                "examples": one.examples,
                "recall": one.recall,
                "precision": one.precision,
                "mistaken_for": one.mistaken_for,
            }
            for one in found.quality
        ],
    }


def kind_json(kind: Kind) -> dict[str, Any]:
    return {"name": kind.name, "description": kind.description, "examples": list(kind.examples)}


#: Below this share of its examples, a kind is better described by more of them.
_POOR = 0.7


def warnings(quality: Iterable[KindQuality]) -> list[str]:
    """What to do about kinds that are told badly."""
    return [_advice(one) for one in quality if one.recall < _POOR]


def idle_words(model: str) -> list[str]:
    """What to do about a trained model that is in service and is not asked."""
    if not model:
        return []
    why = "it learned other kinds than these, or by another embedder, or cannot be read"
    return [f"{model} is in service, and is not asked: {why}. Train it anew: headrace train start --target kinds"]


def _advice(one: KindQuality) -> str:
    told = f"Only {percent(one.recall)} of the examples of {one.kind} are recognised"
    if one.mistaken_for in {"", "other"}:
        return f"{told}: they have little in common. Give more of them, or make two kinds of it."
    return f"{told}, the others mostly as {one.mistaken_for}: give examples that differ more, or make one kind of both."
