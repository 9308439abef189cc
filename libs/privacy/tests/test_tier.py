"""Tiers are ordered, and whatever is not known is the strictest."""

from __future__ import annotations

import pytest
from headrace.privacy.v1 import privacy_pb2
from headrace_privacy import Tier, strictest
from hypothesis import given
from hypothesis import strategies as st

tiers = st.sampled_from(Tier)


def test_the_order_and_the_numbers_of_the_contract() -> None:
    assert Tier.PUBLIC < Tier.TIER_1 < Tier.TIER_2
    assert [int(tier) for tier in Tier] == [privacy_pb2.TIER_PUBLIC, privacy_pb2.TIER_1, privacy_pb2.TIER_2]


def test_labels_come_back() -> None:
    assert [tier.label for tier in Tier] == ["public", "tier_1", "tier_2"]
    assert [Tier.from_label(tier.label) for tier in Tier] == list(Tier)


@pytest.mark.parametrize("label", ["", "PUBLIC", "tier_0", "tier_3", "public ", "secret"])
def test_an_unknown_label_is_the_strictest(label: str) -> None:
    assert Tier.from_label(label) == Tier.TIER_2


@given(st.integers())
def test_an_unknown_number_is_the_strictest(number: int) -> None:
    assert Tier.of(number) == (Tier(number) if number in {1, 2, 3} else Tier.TIER_2)


@given(st.lists(tiers, min_size=1))
def test_the_strictest_is_at_least_each_and_one_of_them(given_tiers: list[Tier]) -> None:
    found = strictest(*given_tiers)
    assert found in given_tiers
    assert all(found >= tier for tier in given_tiers)


@given(st.lists(tiers, min_size=1), tiers)
def test_one_more_never_makes_it_laxer(given_tiers: list[Tier], another: Tier) -> None:
    assert strictest(*given_tiers, another) >= strictest(*given_tiers)


def test_nothing_said_is_the_strictest() -> None:
    assert strictest() == Tier.TIER_2
