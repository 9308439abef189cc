"""The policy file is read as a whole, and says what is wrong with it by key, value and expectation."""

from __future__ import annotations

from importlib.resources import files

import pytest
from headrace_classifier.policy import PolicyError, parse_policy
from headrace_privacy import Tier

GOOD = """
version: "7"
unknown: tier_2
products: {docs: public, shop: tier_1}
sources:
  - {tenant: acme, name: wiki, tier: tier_1}
"""


def test_reads_products_and_sources() -> None:
    policy = parse_policy(GOOD, origin="here")
    assert policy.version == "7"
    assert policy.tier_of_product("shop") is Tier.TIER_1
    assert policy.tier_of_source("acme", "wiki") is Tier.TIER_1


def test_says_nothing_of_what_it_does_not_list() -> None:
    policy = parse_policy(GOOD, origin="here")
    assert policy.tier_of_product("unheard-of") is None
    assert policy.tier_of_source("another-tenant", "wiki") is None


def test_the_policy_that_we_ship_lists_the_demo() -> None:
    content = files("headrace_classifier").joinpath("policy.yaml").read_text()
    policy = parse_policy(content, origin="policy.yaml")
    assert {policy.tier_of_product(name) for name in ("demo", "docs-search", "headrace-cli")} == {Tier.PUBLIC}
    assert policy.tier_of_source("demo", "python-reference") is Tier.PUBLIC


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("shop: tier_1", "shop: tier_9"), ["products.shop", "public, tier_1, tier_2", "'tier_9'"]),
        (("shop: tier_1", "shop: 2"), ["products.shop", "public, tier_1, tier_2", "2"]),
        (("shop: tier_1", "Shop!: tier_1"), ["products.Shop!", "pattern"]),
        (("unknown: tier_2", "unknown: public"), ["unknown", "'tier_2'", "'public'"]),
        (('version: "7"', "version: 7"), ["version", "string", "7"]),
        (('version: "7"', "versoin: '7'"), ["versoin", "version", "required"]),
        (("name: wiki, ", ""), ["sources.0.name", "required"]),
        (("tier: tier_1}", "tier: secret}"), ["sources.0.tier", "'secret'"]),
        (("sources:", "sources: ["), ["line", "YAML"]),
        (("  - {", "  - {tenant: acme, name: wiki, tier: public}\n  - {"), ["acme/wiki", "once"]),
    ],
)
def test_names_key_value_and_expectation(change: tuple[str, str], expected: list[str]) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(GOOD.replace(*change), origin="/etc/policy.yaml")
    assert "/etc/policy.yaml" in str(error.value)
    for words in expected:
        assert words in str(error.value)


def test_tells_everything_that_is_wrong_at_once() -> None:
    broken = GOOD.replace("tier_1", "nonsense").replace("unknown: tier_2", "unknown: public")
    with pytest.raises(PolicyError) as error:
        parse_policy(broken, origin="here")
    assert len(str(error.value).splitlines()) == 4  # the origin, products.shop, sources.0.tier, unknown


@pytest.mark.parametrize("content", ["", "[]", "42"])
def test_a_file_that_is_no_mapping_is_no_policy(content: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(content, origin="here")
