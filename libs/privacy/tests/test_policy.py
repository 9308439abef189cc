"""The policy says what holds, and a file that is wrong says where, what and what was expected."""

from __future__ import annotations

import pytest
from headrace_privacy import Tier
from headrace_privacy.policy import ROLES, Policy, Purpose, RulingKind
from headrace_privacy.policy_file import PolicyError, parse_policy, read_policy
from hypothesis import given
from hypothesis import strategies as st

GOOD = """
version: "7"
unknown: tier_2
products: {docs: public, shop: tier_1}
sources:
  - {tenant: acme, name: wiki, tier: tier_1}
purposes:
  answer:
    public: {allow: [product, developer]}
    tier_1: {allow: [product, developer]}
    tier_2: {allow: [product]}
  train:
    because: A model repeats what it was trained on.
    public: {allow: ["service:trainer"]}
    tier_2: {}
    tier_1: {grant: ["service:trainer"]}
backends:
  local: {public: allow, tier_1: allow, tier_2: allow}
  api.example.com: {public: allow, tier_1: allow, tier_2: deny}
  "*": {public: allow, tier_1: grant, tier_2: grant}
grants: {longest_days: 30}
retention: {public: 0, tier_1: 20, tier_2: 10}
"""
SHIPPED = read_policy(None)


@pytest.fixture
def policy() -> Policy:
    return parse_policy(GOOD, origin="here")


def test_reads_products_and_sources(policy: Policy) -> None:
    assert policy.version == "7"
    assert policy.tier_of_product("shop") is Tier.TIER_1
    assert policy.tier_of_source("acme", "wiki") is Tier.TIER_1
    assert policy.tier_of_product("unheard-of") is None
    assert policy.tier_of_source("another-tenant", "wiki") is None


@pytest.mark.parametrize(
    ("purpose", "tier", "role", "kind"),
    [
        (Purpose.ANSWER, Tier.TIER_2, "product", RulingKind.ALLOW),
        (Purpose.ANSWER, Tier.TIER_2, "developer", RulingKind.DENY),
        (Purpose.TRAIN, Tier.PUBLIC, "service:trainer", RulingKind.ALLOW),
        (Purpose.TRAIN, Tier.TIER_1, "service:trainer", RulingKind.GRANT),
        (Purpose.TRAIN, Tier.TIER_2, "service:trainer", RulingKind.DENY),
        (Purpose.SHARE, Tier.PUBLIC, "privacy", RulingKind.DENY),
        (Purpose.ANSWER, Tier.PUBLIC, "", RulingKind.DENY),
    ],
)
def test_what_is_not_listed_is_denied(
    policy: Policy, purpose: Purpose, tier: Tier, role: str, kind: RulingKind
) -> None:
    assert policy.ruling(purpose, tier, role).kind is kind


def test_a_ruling_gives_its_place_and_the_policys_own_words(policy: Policy) -> None:
    reason = policy.ruling(Purpose.TRAIN, Tier.TIER_1, "service:trainer").reason
    assert reason == (
        "purposes.train.tier_1 allows it to service:trainer under a grant. A model repeats what it was trained on."
    )


@pytest.mark.parametrize(
    ("role", "tier"), [("product", Tier.TIER_2), ("developer", Tier.TIER_1), ("sre", None), ("stranger", None)]
)
def test_clearance_is_the_strictest_tier_that_answers(policy: Policy, role: str, tier: Tier | None) -> None:
    assert policy.clearance(role) is tier


@pytest.mark.parametrize(
    ("backend", "tier", "kind"),
    [
        ("local", Tier.TIER_2, RulingKind.ALLOW),
        ("api.example.com", Tier.TIER_1, RulingKind.ALLOW),
        ("API.example.com", Tier.TIER_2, RulingKind.DENY),
        ("evil.example.com", Tier.TIER_2, RulingKind.GRANT),
        ("", Tier.TIER_2, RulingKind.GRANT),
    ],
)
def test_a_backend_that_is_not_named_is_any_other(policy: Policy, backend: str, tier: Tier, kind: RulingKind) -> None:
    assert policy.backend_ruling(backend, tier).kind is kind


def test_the_stricter_of_two_rulings_holds(policy: Policy) -> None:
    allowed = policy.ruling(Purpose.ANSWER, Tier.TIER_2, "product")
    granted = policy.backend_ruling("evil.example.com", Tier.TIER_2)
    assert allowed & granted is granted
    assert granted & allowed is granted


@pytest.mark.parametrize(
    ("purpose", "tier", "kind"),
    [
        (Purpose.TRAIN, Tier.TIER_1, RulingKind.GRANT),
        (Purpose.TRAIN, Tier.PUBLIC, RulingKind.ALLOW),
        (Purpose.TRAIN, Tier.TIER_2, RulingKind.DENY),
        (Purpose.ANSWER, Tier.TIER_2, RulingKind.GRANT),  # for a server outside
        (Purpose.SHARE, Tier.PUBLIC, RulingKind.DENY),
    ],
)
def test_a_grant_is_asked_for_where_it_opens_something(
    policy: Policy, purpose: Purpose, tier: Tier, kind: RulingKind
) -> None:
    assert policy.grantable(purpose, tier).kind is kind


def test_retention_by_tier(policy: Policy) -> None:
    assert [policy.retention(tier) for tier in Tier] == [0, 20, 10]


def test_the_hash_is_of_the_file_to_the_byte() -> None:
    assert parse_policy(GOOD, origin="a").sha256 == parse_policy(GOOD, origin="b").sha256
    assert parse_policy(GOOD, origin="a").sha256 != parse_policy(GOOD + "# a word\n", origin="a").sha256


def test_the_policy_that_we_ship_lists_the_demo() -> None:
    assert {SHIPPED.tier_of_product(name) for name in ("demo", "docs-search", "headrace-cli")} == {Tier.PUBLIC}
    assert SHIPPED.tier_of_source("demo", "python-reference") is Tier.PUBLIC


def test_the_policy_that_we_ship_uses_customers_data_for_nothing_but_answers_and_their_log_without_a_grant() -> None:
    open_to = {
        (purpose, role)
        for purpose in Purpose
        for role in ROLES
        if SHIPPED.ruling(purpose, Tier.TIER_2, role).kind is RulingKind.ALLOW
    }
    assert open_to == {(Purpose.ANSWER, "product"), (Purpose.LOG, "service:feedback")}
    assert SHIPPED.backend_ruling("api.openai.com", Tier.TIER_2).kind is RulingKind.GRANT


@given(st.sampled_from(Purpose), st.sampled_from(ROLES))
def test_in_the_policy_that_we_ship_no_tier_is_more_open_than_a_laxer_one(purpose: Purpose, role: str) -> None:
    openness = [SHIPPED.ruling(purpose, tier, role).kind.openness for tier in Tier]
    assert openness == sorted(openness, reverse=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("shop: tier_1", "shop: tier_9"), ["line 4, products.shop", "public, tier_1, tier_2", "'tier_9'"]),
        (("shop: tier_1", "shop: 2"), ["products.shop", "public, tier_1, tier_2", "2"]),
        (("shop: tier_1", "Shop!: tier_1"), ["products.Shop!", "pattern"]),
        (("unknown: tier_2", "unknown: public"), ["line 3, unknown", "'tier_2'", "'public'"]),
        (('version: "7"', "version: 7"), ["line 2, version", "string", "7"]),
        (('version: "7"', "versoin: '7'"), ["versoin: unknown key", "version: missing"]),
        (("name: wiki, ", ""), ["line 6, sources.0.name: missing"]),
        (("tier: tier_1}", "tier: secret}"), ["sources.0.tier", "'secret'"]),
        (("sources:", "sources: ["), ["line", "YAML"]),
        (("  - {", "  - {tenant: acme, name: wiki, tier: public}\n  - {"), ["acme/wiki", "once"]),
        (("  train:", "  trian:"), ["line 12, purposes.trian", "answer, log, evaluate, review, train, share"]),
        (("    tier_2: {}", "    tier_3: {}"), ["line 15, purposes.train.tier_3: unknown key"]),
        (("{allow: [product]}", "{allow: [prodcut]}"), ["line 11, purposes.answer.tier_2.allow.0", "'prodcut'", "sre"]),
        (("{allow: [product]}", "{allow: [service:trianer]}"), ["purposes.answer.tier_2.allow.0", "trianer"]),
        (("{allow: [product]}", "{allowed: [product]}"), ["purposes.answer.tier_2.allowed: unknown key"]),
        (("{allow: [product]}", "{allow: [product], grant: [product]}"), ["purposes.answer.tier_2", "product", "once"]),
        (("{allow: [product]}", "{allow: [product, sre]}"), ["purposes.answer", "tier_2 to be no more open", "sre"]),
        (("    tier_2: {}", '    tier_2: {allow: ["service:trainer"]}'), ["purposes.train", "no more open"]),
        (("  answer:", "  answer: {}\n  answer:"), ["line 9, purposes.answer: stands there twice"]),
        (("tier_2: deny}", "tier_2: perhaps}"), ["backends.api.example.com.tier_2", "allow, deny, grant", "'perhaps'"]),
        (("tier_1: grant, tier_2: grant", "tier_1: deny, tier_2: grant"), ["backends.*", "more open"]),
        (('  "*"', "  other.example.com"), ['"*"']),
        (("  api.example.com", "  https://api.example.com"), ["backends.https://api.example.com", "pattern"]),
        (("longest_days: 30", "longest_days: 0"), ["grants.longest_days", "greater than or equal to 1", "0"]),
        (("longest_days: 30", "longest_days: many"), ["grants.longest_days", "integer", "'many'"]),
        (("tier_2: 10}", "tier_2: -1}"), ["retention.tier_2", "-1"]),
        (("tier_2: 10}", "}"), ["retention.tier_2: missing"]),
    ],
)
def test_names_line_key_value_and_expectation(change: tuple[str, str], expected: list[str]) -> None:
    assert change[0] in GOOD
    with pytest.raises(PolicyError) as error:
        parse_policy(GOOD.replace(*change, 1), origin="/etc/policy.yaml")
    assert "/etc/policy.yaml" in str(error.value)
    for words in expected:
        assert words in str(error.value)


def test_tells_everything_that_is_wrong_at_once() -> None:
    broken = GOOD.replace("shop: tier_1", "shop: nonsense").replace("unknown: tier_2", "unknown: public")
    with pytest.raises(PolicyError) as error:
        parse_policy(broken.replace("name: wiki, tier: tier_1", "name: wiki, tier: 7"), origin="here")
    assert len(str(error.value).splitlines()) == 4  # the origin, unknown, products.shop, sources.0.tier


@pytest.mark.parametrize("content", ["", "[]", "42", "\x00", "a: &a [*a]"])
def test_a_file_that_is_no_mapping_is_no_policy(content: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(content, origin="here")
