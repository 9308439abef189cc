"""Routes and kinds between messages and what routing works with. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.inference.v1 import routes_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1 import answer_pb2
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_inference.domain import Versioned
from headrace_inference.kinds import OTHER, Embedder, Kind, Quality, Recognised
from headrace_inference.route_records import RouteRecord
from headrace_inference.routing import ANY, Arm, Chosen, Limits, Route, Shadow

MOST_KINDS = 64
FEWEST_EXAMPLES, MOST_EXAMPLES = 3, 200
MOST_EXAMPLE_CHARACTERS = 2_000
MOST_QUESTION_CHARACTERS = 8_000
MOST_MODEL_CHARACTERS = 200
MOST_ARMS = 16
MOST_WORDS = 500

#: What stands in a trained model's place for the tenant's examples.
EXAMPLES = "examples"

_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


# --- kinds ------------------------------------------------------------------------------------------------------------


def to_kinds(request: routes_pb2.PutKindsRequest) -> tuple[Kind, ...]:
    """Reads kinds. Raises Rejected with each wrong field."""
    if violations := list(_wrong_kinds(request.kinds)):
        raise Rejected(*violations)
    return stored_kinds(request)


def stored_kinds(request: routes_pb2.PutKindsRequest) -> tuple[Kind, ...]:
    """Reads kinds that were checked before."""
    return tuple(Kind(k.name, k.description, tuple(k.examples)) for k in request.kinds)


def _wrong_kinds(kinds: Sequence[routes_pb2.Kind]) -> Iterator[Violation]:
    if not kinds:
        yield Violation("kinds", "missing", "At least one kind is needed.")
    if len(kinds) > MOST_KINDS:
        yield Violation("kinds", "too_long", f"At most {MOST_KINDS} kinds are told apart.")
    seen: set[str] = set()
    for i, kind in enumerate(kinds):
        yield from _wrong_kind(kind, f"kinds[{i}]")
        if kind.name in seen:
            yield Violation(f"kinds[{i}].name", "malformed", "Two kinds have this name.")
        seen.add(kind.name)


def _wrong_kind(kind: routes_pb2.Kind, field: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(kind.name) or kind.name == OTHER:
        yield Violation(f"{field}.name", "malformed", 'A name is 1 to 64 of a-z, 0-9, "_" and "-", and not "other".')
    if len(kind.description) > MOST_WORDS:
        yield Violation(f"{field}.description", "too_long", f"At most {MOST_WORDS} characters.")
    if not FEWEST_EXAMPLES <= len(kind.examples) <= MOST_EXAMPLES:
        yield Violation(
            f"{field}.examples", "out_of_range", f"A kind is known by {FEWEST_EXAMPLES} to {MOST_EXAMPLES} examples."
        )
    for j, example in enumerate(kind.examples):
        if not 1 <= len(example.strip()) <= len(example) <= MOST_EXAMPLE_CHARACTERS:
            yield Violation(
                f"{field}.examples[{j}]", "out_of_range", f"An example has 1 to {MOST_EXAMPLE_CHARACTERS} characters."
            )


def from_kind(kind: Kind) -> routes_pb2.Kind:
    """As it travels."""
    return routes_pb2.Kind(name=kind.name, description=kind.description, examples=kind.examples)


def from_quality(quality: Quality) -> routes_pb2.KindQuality:
    """As it travels."""
    return routes_pb2.KindQuality(
        kind=quality.kind,
        examples=quality.examples,
        recall=quality.recall,
        precision=quality.precision,
        mistaken_for=quality.mistaken_for,
    )


def from_embedder(embedder: Embedder) -> answer_pb2.Versioned:
    """As it travels."""
    return answer_pb2.Versioned(name=embedder.name, version=embedder.hash)


def from_score(score: Recognised) -> routes_pb2.KindScore:
    """As it travels."""
    return routes_pb2.KindScore(kind=score.kind, confidence=score.confidence)


# --- routes -----------------------------------------------------------------------------------------------------------


def check_route(route: routes_pb2.Route, *, kinds: Collection[str]) -> None:
    """Raises Rejected with each wrong field. kinds: those that the tenant has."""
    if violations := [*_wrong_kind_of_route(route, kinds), *_wrong_arms(route), *_wrong_rest(route)]:
        raise Rejected(*violations)


def _wrong_kind_of_route(route: routes_pb2.Route, kinds: Collection[str]) -> Iterator[Violation]:
    if not route.kind:
        yield Violation("route.kind", "missing", 'A route is for a kind, or for "*": whatever has none of its own.')
    elif route.kind not in {ANY, OTHER, *kinds}:
        yield Violation("route.kind", "unknown_value", 'The tenant has no such kind; "*" stands for all others.')


def _wrong_arms(route: routes_pb2.Route) -> Iterator[Violation]:
    if not 1 <= len(route.arms) <= MOST_ARMS:
        yield Violation("route.arms", "out_of_range", f"1 to {MOST_ARMS} variants share the traffic of a kind.")
    seen: set[tuple[str, int]] = set()
    for i, arm in enumerate(route.arms):
        yield from _wrong_reference(arm.variant, f"route.arms[{i}].variant")
        if not (math.isfinite(arm.weight) and arm.weight > 0):
            yield Violation(f"route.arms[{i}].weight", "out_of_range", "A weight is above 0.")
        if (key := (arm.variant.name, arm.variant.version)) in seen:
            yield Violation(f"route.arms[{i}].variant", "malformed", "Two arms have this variant: add their weights.")
        seen.add(key)


def _wrong_rest(route: routes_pb2.Route) -> Iterator[Violation]:
    for name in ("fallbacks", "shadows"):
        if len(getattr(route, name)) > MOST_ARMS:
            yield Violation(f"route.{name}", "too_long", f"At most {MOST_ARMS}.")
    for i, fallback in enumerate(route.fallbacks):
        yield from _wrong_reference(fallback, f"route.fallbacks[{i}]")
    for i, shadow in enumerate(route.shadows):
        yield from _wrong_reference(shadow.variant, f"route.shadows[{i}].variant")
        if not 0 < shadow.share <= 1:
            yield Violation(f"route.shadows[{i}].share", "out_of_range", "A share is above 0, and at most 1.")
    yield from _wrong_reason(route.reason, "route.reason")
    if route.limits.max_tier not in privacy_pb2.Tier.values():
        yield Violation("route.limits.max_tier", "unknown_value", "There is no such tier.")
    for name in ("cost_micro_usd", "daily_budget_micro_usd"):
        if getattr(route.limits, name) >= 2**63:
            yield Violation(f"route.limits.{name}", "out_of_range", "No budget is that large.")


def check_reason(reason: str) -> None:
    """Raises Rejected for one that is too long."""
    if violations := list(_wrong_reason(reason, "reason")):
        raise Rejected(*violations)


def _wrong_reason(reason: str, field: str) -> Iterator[Violation]:
    if len(reason) > MOST_WORDS:
        yield Violation(field, "too_long", f"At most {MOST_WORDS} characters.")


def _wrong_reference(variant: routes_pb2.VariantReference, field: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(variant.name):
        yield Violation(f"{field}.name", "malformed", 'A name is 1 to 64 of a-z, 0-9, "_" and "-".')


def to_route(route: routes_pb2.Route) -> Route:
    """Reads a route that was checked before."""
    limits = route.limits
    return Route(
        kind=route.kind,
        version=route.version,
        arms=tuple(Arm(to_key(arm.variant), arm.weight) for arm in route.arms),
        fallbacks=tuple(map(to_key, route.fallbacks)),
        shadows=tuple(Shadow(to_key(shadow.variant), shadow.share) for shadow in route.shadows),
        limits=Limits(
            limits.cost_micro_usd,
            limits.daily_budget_micro_usd,
            limits.latency_ms,
            Tier(limits.max_tier) if limits.max_tier else Tier.TIER_2,
        ),
    )


def to_key(variant: routes_pb2.VariantReference) -> Versioned:
    """Reads which variant; version 0 is the newest."""
    return Versioned(variant.name, str(variant.version))


def to_record(route: routes_pb2.Route) -> RouteRecord:
    """Reads a route as it was stored."""
    return RouteRecord(
        to_route(route), route.created_by, route.created_at.ToDatetime(tzinfo=UTC), route.reason, route.deleted
    )


def from_record(record: RouteRecord) -> routes_pb2.Route:
    """As it travels, and as it is stored."""
    route, limits = record.route, record.route.limits
    return routes_pb2.Route(
        kind=route.kind,
        version=route.version,
        arms=[routes_pb2.Arm(variant=_from_key(arm.variant), weight=arm.weight) for arm in route.arms],
        fallbacks=[_from_key(key) for key in route.fallbacks],
        shadows=[routes_pb2.Shadow(variant=_from_key(s.variant), share=s.share) for s in route.shadows],
        limits=routes_pb2.Limits(
            cost_micro_usd=limits.cost_micro_usd,
            daily_budget_micro_usd=limits.daily_budget_micro_usd,
            latency_ms=limits.latency_ms,
            max_tier=_from_tier(limits.max_tier),
        ),
        created_by=record.created_by,
        created_at=to_timestamp(record.created_at),
        reason=record.reason,
        deleted=record.deleted,
    )


def _from_key(key: Versioned) -> routes_pb2.VariantReference:
    return routes_pb2.VariantReference(name=key.name, version=int(key.version))


def _from_tier(tier: Tier) -> privacy_pb2.Tier.ValueType:
    # No limit is said by saying nothing.
    return privacy_pb2.TIER_UNSPECIFIED if tier is Tier.TIER_2 else privacy_pb2.Tier.ValueType(tier)


def from_chosen(chosen: Chosen) -> answer_pb2.Routing:
    """As an answer tells how its variant was chosen."""
    return answer_pb2.Routing(
        kind=chosen.kind,
        confidence=chosen.confidence,
        kinds_version=chosen.kinds_version,
        route=chosen.route,
        route_version=chosen.route_version,
        reason=chosen.reason,
        passed_over=[
            answer_pb2.PassedOver(variant=from_key(one.variant), reason=one.reason) for one in chosen.passed_over
        ],
        backend=chosen.backend,
        kinds_model=chosen.kinds_model,
    )


def from_key(key: Versioned) -> answer_pb2.Versioned:
    """As it travels in answers."""
    return answer_pb2.Versioned(name=key.name, version=key.version)


def check_explained(request: routes_pb2.ExplainRouteRequest, *, kinds: Collection[str]) -> None:
    """Raises Rejected with each wrong field."""
    if bool(request.text) == bool(request.kind):
        raise Rejected(Violation("text", "missing", "Either a question or a kind is explained."))
    if len(request.text) > MOST_QUESTION_CHARACTERS:
        raise Rejected(Violation("text", "too_long", f"A question has at most {MOST_QUESTION_CHARACTERS} characters."))
    if request.kind and request.kind not in {OTHER, *kinds}:
        raise Rejected(Violation("kind", "unknown_value", "The tenant has no such kind."))
    if request.kinds_model and not request.text:
        raise Rejected(Violation("kinds_model", "unknown_value", "A model recognises the kind of a text."))
    if len(request.kinds_model) > MOST_MODEL_CHARACTERS:
        raise Rejected(Violation("kinds_model", "too_long", "A model is named NAME@VERSION."))


def to_timestamp(moment: datetime) -> Timestamp:
    """As it travels."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
