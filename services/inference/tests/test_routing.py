"""Choosing who answers: shares, stickiness, limits, fallbacks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from headrace_inference.domain import Versioned
from headrace_inference.routing import (
    ANY,
    Arm,
    Asked,
    Choice,
    Limits,
    PassedOver,
    Route,
    Shadow,
    Standing,
    by_share,
    choose,
    route_for,
    shadows_of,
)
from headrace_privacy import Tier
from hypothesis import given, settings
from hypothesis import strategies as st

A, B, C, D = (Versioned(name, "1") for name in "abcd")
FREE = Standing()


def asked(i: int = 0, conversation: str = "", **more: Any) -> Asked:
    return Asked("demo", str(UUID(int=i)), conversation, **{"tier": Tier.TIER_1, **more})


def route(weights: dict[Versioned, float], **more: Any) -> Route:
    return Route("how-to", 1, tuple(Arm(variant, weight) for variant, weight in weights.items()), **more)


def first(found: Choice) -> Versioned:
    return found.candidates[0].variant


def with_standings(**standings: Standing) -> Callable[[Versioned], Standing]:
    return lambda variant: standings.get(variant.name, FREE)


def shares(weights: dict[Versioned, float], *, count: int = 4_000) -> Counter[Versioned]:
    return Counter(first(choose(route(weights), asked(i), lambda _: FREE)) for i in range(count))


@pytest.mark.parametrize("weights", [{A: 1, B: 1}, {A: 90, B: 10}, {A: 0.5, B: 0.3, C: 0.2}, {A: 1, B: 99}])
def test_shares_are_as_the_weights_say(weights: dict[Versioned, float]) -> None:
    found, count = shares(weights), 4_000
    for variant, weight in weights.items():
        share = weight / sum(weights.values())
        # Four standard deviations of a binomial: 1 in 16,000 seeds would fail by chance, and this one does not.
        assert abs(found[variant] - share * count) <= 4 * math.sqrt(count * share * (1 - share))


def unstuck(found: Route, query: Asked) -> list[Versioned]:
    """A seeded bug: by query, whatever the conversation."""
    return by_share(found, replace(query, conversation_id=""))


def switches(order: Callable[[Route, Asked], list[Versioned]]) -> int:
    """How many of a hundred conversations of ten queries had more than one variant."""
    shared = route({A: 1, B: 1})
    seen = [{order(shared, asked(10 * c + q, f"talk-{c}"))[0] for q in range(10)} for c in range(100)]
    return sum(len(variants) > 1 for variants in seen)


def test_a_conversation_keeps_its_variant() -> None:
    assert switches(by_share) == 0
    assert switches(unstuck) > 90


def test_tenants_and_kinds_draw_apart() -> None:
    """Else the same people would always be those on whom things are tried."""
    one, other = route({A: 1, B: 1}), replace(route({A: 1, B: 1}), kind="error")
    same = sum(by_share(one, asked(i)) == by_share(other, asked(i)) for i in range(1_000))
    assert 400 < same < 600
    same = sum(by_share(one, asked(i)) == by_share(one, replace(asked(i), tenant="acme")) for i in range(1_000))
    assert 400 < same < 600


WEIGHTS = st.dictionaries(st.sampled_from([A, B, C, D]), st.floats(0.01, 100), min_size=2)


@given(weights=WEIGHTS, factor=st.floats(1.01, 50), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_heavier_weight_only_wins(weights: dict[Versioned, float], factor: float, data: st.DataObject) -> None:
    raised = data.draw(st.sampled_from(sorted(weights, key=lambda v: v.name)))
    before, after = route(weights), route({**weights, raised: weights[raised] * factor})
    for i in range(60):
        was, now = by_share(before, asked(i))[0], by_share(after, asked(i))[0]
        assert now in (was, raised)


@given(weights=WEIGHTS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_variant_that_goes_leaves_the_others_theirs(weights: dict[Versioned, float], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(weights, key=lambda v: v.name)))
    before, after = route(weights), route({v: w for v, w in weights.items() if v != gone})
    for i in range(60):
        was, now = by_share(before, asked(i)), by_share(after, asked(i))
        assert now == [v for v in was if v != gone]


def test_the_next_version_of_a_variant_keeps_its_conversations() -> None:
    newer = Versioned("b", "2")
    before, after, both = route({A: 1, B: 1}), route({A: 1, newer: 1}), route({A: 50, B: 40, newer: 10})
    for i in range(200):
        was, now = by_share(before, asked(i))[0], by_share(after, asked(i))[0]
        assert (was.name, now.name) in {("a", "a"), ("b", "b")}
    assert {by_share(both, asked(i))[0] for i in range(200)} == {A, B, newer}


def test_the_order_in_which_arms_are_written_is_nothing() -> None:
    one, other = route({A: 3, B: 2, C: 1}), route({C: 1, B: 2, A: 3})
    assert all(by_share(one, asked(i)) == by_share(other, asked(i)) for i in range(100))


@pytest.mark.parametrize(
    ("limits", "standing", "query", "reason"),
    [
        (Limits(cost_micro_usd=100), Standing(cost_micro_usd=101), {}, "cost"),
        (Limits(daily_budget_micro_usd=1_000), Standing(cost_micro_usd=50), {"spent_micro_usd": 951}, "budget"),
        (Limits(latency_ms=2_000), Standing(ms=1_500), {"elapsed_ms": 501}, "latency"),
        (Limits(), Standing(obstacle="failed"), {}, "failed"),
        (Limits(), Standing(obstacle="rate"), {}, "rate"),
        (Limits(), Standing(obstacle="broken"), {}, "broken"),
        (Limits(), Standing(obstacle="tier"), {}, "tier"),
    ],
)
def test_what_cannot_is_passed_over_and_the_reason_told(
    limits: Limits, standing: Standing, query: dict[str, Any], reason: Any
) -> None:
    found = choose(route({A: 1}, fallbacks=(B,), limits=limits), asked(**query), with_standings(a=standing))
    assert [(c.variant, c.reason) for c in found.candidates] == [(B, "fallback")]
    assert found.passed_over == (PassedOver(A, reason),)


@pytest.mark.parametrize(
    ("limits", "standing", "query"),
    [
        (Limits(cost_micro_usd=100), Standing(cost_micro_usd=100), {}),
        (Limits(daily_budget_micro_usd=1_000), Standing(cost_micro_usd=50), {"spent_micro_usd": 950}),
        (Limits(daily_budget_micro_usd=1_000), Standing(cost_micro_usd=0), {"spent_micro_usd": 5_000}),
        (Limits(latency_ms=2_000), Standing(ms=1_500), {"elapsed_ms": 500}),
    ],
)
def test_what_just_fits_answers(limits: Limits, standing: Standing, query: dict[str, Any]) -> None:
    found = choose(route({A: 1}, fallbacks=(B,), limits=limits), asked(**query), with_standings(a=standing))
    assert (first(found), found.candidates[0].reason, found.passed_over) == (A, "share", ())


def test_when_all_are_too_dear_the_cheapest_answers() -> None:
    dear = {"a": Standing(ms=1, cost_micro_usd=30), "b": Standing(ms=9, cost_micro_usd=20), "c": Standing(2, 25)}
    limited = route({A: 1, B: 1, C: 1}, limits=Limits(cost_micro_usd=10))
    found = choose(limited, asked(), with_standings(**dear))
    assert [c.variant for c in found.candidates] == [B, C, A]
    assert {p.variant for p in found.passed_over} == {A, C}
    assert {p.reason for p in found.passed_over} == {"cost"}


def test_when_time_is_short_for_all_the_fastest_answers() -> None:
    slow = {"a": Standing(ms=300), "b": Standing(ms=200), "c": Standing(ms=100, obstacle="failed")}
    limited = route({A: 1, B: 1, C: 1}, limits=Limits(latency_ms=50))
    found = choose(limited, asked(), with_standings(**slow))
    assert [c.variant for c in found.candidates] == [B, A]
    assert {(p.variant, p.reason) for p in found.passed_over} == {(A, "latency"), (C, "failed")}


def test_when_all_are_down_nobody_answers() -> None:
    found = choose(route({A: 1}, fallbacks=(B,)), asked(), lambda _: Standing(obstacle="failed"))
    assert found.candidates == ()
    assert found.passed_over == (PassedOver(A, "failed"), PassedOver(B, "failed"))


def test_what_is_too_strict_for_the_route_goes_to_its_fallbacks() -> None:
    limited = route({A: 1, B: 1}, fallbacks=(C,), limits=Limits(max_tier=Tier.TIER_1))
    found = choose(limited, asked(tier=Tier.TIER_2), lambda _: FREE)
    assert [c.variant for c in found.candidates] == [C]
    assert {(p.variant, p.reason) for p in found.passed_over} == {(A, "tier"), (B, "tier")}
    assert choose(replace(limited, fallbacks=()), asked(tier=Tier.TIER_2), lambda _: FREE).candidates == ()
    assert first(choose(limited, asked(tier=Tier.TIER_1), lambda _: FREE)) in (A, B)


def test_a_failure_while_answering_leads_to_the_next() -> None:
    found = choose(route({A: 1}, fallbacks=(B, C)), asked(conversation="talk"), lambda _: FREE)
    assert [c.reason for c in found.candidates] == ["conversation", "fallback", "fallback"]
    left = found.without_first("failed")
    assert (first(left), left.candidates[0].reason, left.passed_over) == (B, "fallback", (PassedOver(A, "failed"),))


STANDINGS = st.builds(
    Standing,
    ms=st.floats(0, 500),
    cost_micro_usd=st.integers(0, 100),
    obstacle=st.sampled_from(["", "", "failed", "tier"]),
)


@given(
    weights=WEIGHTS,
    fallbacks=st.lists(st.sampled_from([A, B, C, D]), max_size=3),
    limits=st.builds(
        Limits,
        st.integers(0, 100),
        st.integers(0, 100),
        st.integers(0, 500),
        st.sampled_from([Tier.TIER_1, Tier.TIER_2]),
    ),
    standings=st.fixed_dictionaries(dict.fromkeys("abcd", STANDINGS)),
    query=st.builds(asked, tier=st.sampled_from(list(Tier)), spent_micro_usd=st.integers(0, 200)),
)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_the_way(
    weights: dict[Versioned, float],
    fallbacks: Sequence[Versioned],
    limits: Limits,
    standings: dict[str, Standing],
    query: Asked,
) -> None:
    """Nobody twice, nobody lost who is able, nobody who may not; and the reason never lies."""
    made = route(weights, fallbacks=tuple(fallbacks), limits=limits)
    found = choose(made, query, with_standings(**standings))
    candidates = [c.variant for c in found.candidates]
    passed = {p.variant: p.reason for p in found.passed_over}
    assert len(candidates) == len(set(candidates))
    assert all(not standings[v.name].obstacle for v in candidates)
    if query.tier > limits.max_tier:
        assert set(candidates) <= set(fallbacks)
    allowed = set(fallbacks) | (set(weights) if query.tier <= limits.max_tier else set())
    able = {v for v in allowed if not standings[v.name].obstacle}
    assert bool(candidates) == bool(able)
    for variant, reason in passed.items():
        obstacle = standings[variant.name].obstacle
        assert reason == obstacle or not obstacle or reason == "tier"
    if candidates and found.candidates[0].reason != "fallback":
        assert not passed
        assert candidates[0] == by_share(made, query)[0]


def test_a_kind_without_a_route_of_its_own_takes_that_for_any() -> None:
    any_, own = replace(route({A: 1}), kind=ANY), route({B: 1})
    assert route_for({ANY: any_, "how-to": own}, "how-to") is own
    assert route_for({ANY: any_, "how-to": own}, "other") is any_
    assert route_for({"how-to": own}, "other") is None


def test_a_shadow_gets_its_share_whoever_answers() -> None:
    shadowed = route({A: 1}, shadows=(Shadow(B, 0.25), Shadow(C, 1.0)))
    found = Counter(v for i in range(4_000) for v in shadows_of(shadowed, asked(i)))
    assert abs(found[B] - 1_000) < 4 * math.sqrt(4_000 * 0.25 * 0.75)
    assert found[C] == 4_000


def test_a_spent_budget_has_no_shadows() -> None:
    shadowed = route({A: 1}, shadows=(Shadow(B, 1.0),), limits=Limits(daily_budget_micro_usd=100))
    assert shadows_of(shadowed, asked(spent_micro_usd=99)) == [B]
    assert shadows_of(shadowed, asked(spent_micro_usd=100)) == []


def test_every_variant_of_a_route_is_named_once() -> None:
    assert route({A: 1, B: 1}, fallbacks=(B, C), shadows=(Shadow(A, 1), Shadow(D, 0.5))).variants == [A, B, C, D]


def test_what_is_drawn_is_the_same_for_ever() -> None:
    """Another hash, and every conversation would change its variant at the next release."""
    drawn = [by_share(route({A: 1, B: 1, C: 1}), asked(i, f"talk-{i}"))[0].name for i in range(12)]
    assert "".join(drawn) == "aaccaaacbccb"
