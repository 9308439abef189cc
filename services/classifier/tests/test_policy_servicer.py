"""The policy's service: what holds, decisions on tiers, dictionaries. One suite, on memory and on Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from headrace.privacy.v1 import policy_pb2, privacy_pb2
from headrace_classifier.adapters.live import (
    LAPSE_SECONDS,
    LiveDecisions,
    LiveDictionaries,
    following,
)
from headrace_classifier.adapters.memory_registry import MemoryRegistry
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.dictionaries import Unreadable, UnreadableDictionary
from headrace_classifier.policy_servicer import PolicyServicer
from headrace_classifier.registry import EVERYBODY, Registry
from headrace_classifier.submission import Provenance
from headrace_database import Database
from headrace_identity import Principal
from headrace_privacy import Owner, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy
from headrace_runtime.errors import Denied, NotFound, Rejected, Unavailable

from services.classifier.tests.makers import AUDIT_KEY

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
POLICY = read_policy(None)
CONTEXT: Any = None
UNREADABLE = ("unreadable",)
NAMES = ["Projekt Nordlicht", "KD-2044-881"]


class Team:
    """The edge of one instance, and what that instance holds in memory."""

    def __init__(self, registry: Registry, tenant: str, keyring: MemoryKeyring) -> None:
        self.registry = registry
        self.tenant = tenant
        self.seconds = 100.0
        self.now = NOW
        self.caller = Principal("privacy", "*", "maria")
        self.keyring = keyring
        vault = Vault(keyring, clock=lambda: self.seconds)
        self.decisions = LiveDecisions(registry, clock=lambda: self.seconds)
        self.dictionaries = LiveDictionaries(registry, vault, compile_=tuple[str, ...], empty=(), unreadable=UNREADABLE)
        self.vault = vault
        self.servicer = PolicyServicer(
            registry, POLICY, vault, refresh=self.refresh, caller=lambda: self.caller, now=lambda: self.now
        )

    async def refresh(self) -> None:
        await self.decisions.refresh()
        await self.dictionaries.refresh()

    async def decide(self, tier: int, **changes: Any) -> policy_pb2.TierDecision:
        wanted: dict[str, Any] = {
            "tenant": self.tenant, "kind": policy_pb2.TIER_DECISION_KIND_SOURCE, "name": "wiki", "tier": tier,
            "reason": "looked through and found harmless", **changes,
        }  # fmt: skip
        return (await self.servicer.DecideTier(policy_pb2.DecideTierRequest(**wanted), CONTEXT)).decision

    async def listed(self, tenant: str) -> Sequence[policy_pb2.TierDecision]:
        request = policy_pb2.ListTierDecisionsRequest(tenant=tenant)
        return list((await self.servicer.ListTierDecisions(request, CONTEXT)).decisions)

    async def put(self, *identifiers: str) -> int:
        request = policy_pb2.PutDictionaryRequest(tenant=self.tenant, identifiers=identifiers)
        return (await self.servicer.PutDictionary(request, CONTEXT)).identifiers

    async def size(self) -> policy_pb2.GetDictionaryResponse:
        return await self.servicer.GetDictionary(policy_pb2.GetDictionaryRequest(tenant=self.tenant), CONTEXT)

    def wiki(self) -> Tier | None:
        return self.decisions.tier_of(Provenance(self.tenant, source="wiki"))

    async def audit(self) -> list[tuple[str, str, str, str]]:
        if isinstance(self.registry, MemoryRegistry):
            rows = [row.entry for row in self.registry.audit if row.entry.tenant == self.tenant]
            return [(entry.action, entry.actor, entry.object, entry.reason) for entry in rows]
        assert isinstance(self.registry, PostgresRegistry)
        async with self.registry._database.transaction() as connection:
            found = await connection.fetch(
                "SELECT action, actor, object, reason FROM audit WHERE tenant = $1 ORDER BY sequence", self.tenant
            )
        return [tuple(row) for row in found]


class PolicySuite:
    """Every test here holds for every registry."""

    async def test_a_decision_holds_at_once_and_is_recorded(self, team: Team) -> None:
        assert team.wiki() is None
        decision = await team.decide(privacy_pb2.TIER_PUBLIC)
        assert (decision.tier, decision.decided_by) == (privacy_pb2.TIER_PUBLIC, "maria")
        assert decision.decided_at.ToDatetime(UTC) == NOW
        assert team.wiki() is Tier.PUBLIC
        assert await team.listed(team.tenant) == [decision]
        assert decision in await team.listed("")
        assert await team.audit() == [("tier.decided", "maria", "source/wiki", "source wiki is public")]

    async def test_the_last_decision_holds(self, team: Team) -> None:
        await team.decide(privacy_pb2.TIER_PUBLIC)
        await team.decide(privacy_pb2.TIER_1)
        assert team.wiki() is Tier.TIER_1
        assert len(await team.listed(team.tenant)) == 1

    async def test_a_decision_can_be_taken_back(self, team: Team) -> None:
        await team.decide(privacy_pb2.TIER_PUBLIC)
        back = await team.decide(privacy_pb2.TIER_UNSPECIFIED, reason="a name was found in it")
        assert (back.tier, back.name) == (privacy_pb2.TIER_UNSPECIFIED, "wiki")
        assert team.wiki() is None
        assert (await team.audit())[-1][3] == "the decision on source wiki is taken back"
        with pytest.raises(NotFound):
            await team.decide(privacy_pb2.TIER_UNSPECIFIED)

    async def test_decisions_lapse_when_they_cannot_be_read(self, team: Team) -> None:
        await team.decide(privacy_pb2.TIER_PUBLIC)
        team.seconds += LAPSE_SECONDS - 0.1
        assert team.wiki() is Tier.PUBLIC
        team.seconds += 0.1
        assert team.wiki() is None
        await team.refresh()
        assert team.wiki() is Tier.PUBLIC

    async def test_nobody_knows_of_decisions_before_the_first_look(self, team: Team) -> None:
        await team.decide(privacy_pb2.TIER_PUBLIC)
        assert LiveDecisions(team.registry, clock=lambda: 0.0).tier_of(Provenance(team.tenant, source="wiki")) is None

    async def test_somebody_decides(self, team: Team) -> None:
        team.caller = Principal("privacy", "*", "")
        with pytest.raises(Denied):
            await team.decide(privacy_pb2.TIER_PUBLIC)
        assert team.wiki() is None

    @pytest.mark.parametrize(
        ("changes", "wrong"),
        [
            ({"tenant": ""}, ["tenant: missing"]),
            ({"kind": 0}, ["kind: missing"]),
            ({"kind": 9}, ["kind: unknown_value"]),
            ({"name": ""}, ["name: missing"]),
            ({"name": "a/b"}, ["name: malformed"]),
            ({"tier": 9, "reason": " "}, ["tier: unknown_value", "reason: empty"]),
        ],
    )
    async def test_a_decision_is_told_each_wrong_field(
        self, team: Team, changes: dict[str, Any], wrong: list[str]
    ) -> None:
        with pytest.raises(Rejected) as error:
            await team.decide(**{"tier": privacy_pb2.TIER_1, **changes})
        assert [str(violation) for violation in error.value.violations] == wrong

    # Dictionaries

    async def test_a_dictionary_is_at_hand_and_rests_sealed(self, team: Team) -> None:
        assert (await team.size()).identifiers == 0
        assert await team.dictionaries.of(team.tenant) == ()
        assert await team.put(*NAMES, " Projekt Nordlicht ") == 2
        assert await team.dictionaries.of(team.tenant) == tuple(sorted(NAMES))
        size = await team.size()
        assert (size.identifiers, size.changed_at.ToDatetime(UTC)) == (2, NOW)
        async with team.registry.open(team.tenant) as register:
            stored = await register.dictionary(team.tenant)
        assert stored is not None
        assert b"Nordlicht" not in stored.sealed
        assert await team.audit() == [("dictionary.changed", "maria", "", "2 identifiers")]

    async def test_an_empty_dictionary_takes_the_words_away(self, team: Team) -> None:
        await team.put(*NAMES)
        team.now += timedelta(microseconds=1)
        assert await team.put() == 0
        assert await team.dictionaries.of(team.tenant) == ()

    async def test_another_instance_reads_it_at_its_next_look(self, team: Team) -> None:
        other = Team(team.registry, team.tenant, team.keyring)
        await team.put(*NAMES)
        await team.decide(privacy_pb2.TIER_1)
        await other.refresh()
        assert await other.dictionaries.of(team.tenant) == tuple(sorted(NAMES))
        assert other.wiki() is Tier.TIER_1

    async def test_a_dictionary_that_cannot_be_opened_makes_unsure(self, team: Team) -> None:
        await team.put(*NAMES)
        team.keyring.destroy(Owner.index(team.tenant))
        other = Team(team.registry, team.tenant, team.keyring)
        await other.dictionaries.refresh()
        assert await other.dictionaries.of(team.tenant) is UNREADABLE

    async def test_wrong_identifiers_are_told_by_place_and_never_shown(self, team: Team) -> None:
        with pytest.raises(Rejected) as error:
            await team.put("ok-word", "ab", "two\nlines", "x" * 129, "nul\x00")
        said = " ".join(f"{violation} {violation.description}" for violation in error.value.violations)
        assert [violation.field for violation in error.value.violations] == [f"identifiers[{n}]" for n in (1, 2, 3, 4)]
        assert "lines" not in said
        with pytest.raises(Rejected, match="too_long"):
            await team.put(*map(str, range(1000, 101_001)))

    # Explain

    async def test_explains_one_cell(self, team: Team) -> None:
        request = policy_pb2.ExplainRequest(
            purpose=privacy_pb2.PURPOSE_TRAIN, tier=privacy_pb2.TIER_2, role="service:trainer"
        )
        response = await team.servicer.Explain(request, CONTEXT)
        (line,) = response.lines
        assert (line.ruling, line.role) == (policy_pb2.RULING_GRANT, "service:trainer")
        assert line.reason.startswith("purposes.train.tier_2 allows it to service:trainer under a grant")
        assert (response.policy_version, response.sha256) == (POLICY.version, POLICY.sha256)
        assert [(b.backend, b.ruling) for b in response.backends] == [
            ("local", policy_pb2.RULING_ALLOW), ("*", policy_pb2.RULING_GRANT),
        ]  # fmt: skip
        assert [(r.tier, r.days) for r in response.retention] == [(privacy_pb2.TIER_2, 30)]

    async def test_explains_everything(self, team: Team) -> None:
        response = await team.servicer.Explain(policy_pb2.ExplainRequest(), CONTEXT)
        assert len(response.lines) == 6 * 3 * (6 + 8)

    async def test_explains_nothing_that_there_is_not(self, team: Team) -> None:
        with pytest.raises(Rejected) as error:
            await team.servicer.Explain(policy_pb2.ExplainRequest(role="boss"), CONTEXT)
        assert "product, developer" in error.value.violations[0].description


class TestInMemory(PolicySuite):
    @pytest.fixture
    def team(self, tenant: str) -> Team:
        return Team(MemoryRegistry(), tenant, MemoryKeyring())


@pytest.mark.real
class TestInPostgres(PolicySuite):
    @pytest.fixture
    def team(self, opened: Database, tenant: str) -> Team:
        return Team(PostgresRegistry(opened, PostgresAudit(AUDIT_KEY)), tenant, MemoryKeyring())


@pytest.mark.real
async def test_every_instance_hears_of_a_decision_at_once(opened: Database, tenant: str) -> None:
    registry = PostgresRegistry(opened, PostgresAudit(AUDIT_KEY))
    one, other = (Team(registry, tenant, MemoryKeyring()) for _ in range(2))
    async with following(opened, other.refresh):
        await asyncio.sleep(0.3)  # it listens
        began = time.monotonic()
        await one.decide(privacy_pb2.TIER_1)
        async with asyncio.timeout(5):
            while other.wiki() is None:
                await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1.0, "by looking alone it would take up to 2 s"


@pytest.mark.real
async def test_a_connection_that_is_cut_is_opened_again(opened: Database, schema: Any, tenant: str) -> None:
    registry = PostgresRegistry(opened, PostgresAudit(AUDIT_KEY))
    one, other = (Team(registry, tenant, MemoryKeyring()) for _ in range(2))
    async with following(opened, other.refresh):
        superuser = await asyncpg.connect(schema.superuser)
        await superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'headrace_classifier'"
        )
        await superuser.close()
        async with asyncio.timeout(20):
            while True:
                try:
                    await one.decide(privacy_pb2.TIER_1)
                except Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
            while other.wiki() is None:
                await asyncio.sleep(0.01)


@pytest.mark.real
async def test_a_transaction_sees_its_tenants_decisions(opened: Database, tenant: str) -> None:
    registry = PostgresRegistry(opened, PostgresAudit(AUDIT_KEY))
    team = Team(registry, tenant, MemoryKeyring())
    await team.decide(privacy_pb2.TIER_1)
    seen = {}
    for who in (tenant, "another", "", EVERYBODY):
        async with registry.open(who) as register:
            seen[who] = any(one.about.tenant == tenant for one in await register.tier_decisions())
    assert seen == {tenant: True, "another": False, "": False, EVERYBODY: True}


def test_a_dictionary_that_cannot_be_opened_says_so_of_every_text() -> None:
    with pytest.raises(Unreadable):
        list(UnreadableDictionary().places("no word of it"))
