"""What the privacy team decides reaches every text: decisions on tiers, and tenants' dictionaries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from headrace_classifier.adapters.live import LAPSE_SECONDS, LiveDecisions, LiveDictionaries
from headrace_classifier.adapters.memory_registry import MemoryRegistry
from headrace_classifier.adapters.threads import TimeLimit, open_inspector
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.dictionaries import StoredDictionary, UnreadableDictionary, pack
from headrace_classifier.dictionary import EMPTY, Dictionary
from headrace_classifier.handlers import classify
from headrace_classifier.inspection import TextDetector
from headrace_classifier.name_shapes import load_name_shapes
from headrace_classifier.name_words import load_given_names
from headrace_classifier.names import NameReader
from headrace_classifier.ports import Inspector
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.submission import Provenance, Submission
from headrace_classifier.tier_decisions import About, DecisionKind, TierDecision
from headrace_classifier.verdict import FindingKind, TierReason, Verdict
from headrace_privacy import Owner, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
WIKI = About("acme", DecisionKind.SOURCE, "wiki")


class Governed:
    """A classifier with what the privacy team decided, in memory."""

    def __init__(self, inspector: Inspector) -> None:
        self.registry, self.keyring, self.seconds = MemoryRegistry(), MemoryKeyring(), 0.0
        self.inspector = inspector
        vault = Vault(self.keyring, clock=lambda: self.seconds)
        self.vault = vault
        self.decisions = LiveDecisions(self.registry, clock=lambda: self.seconds)
        self.dictionaries = LiveDictionaries(
            self.registry, vault, compile_=Dictionary.of, empty=EMPTY, unreadable=UnreadableDictionary()
        )

    async def decide(self, tier: Tier) -> None:
        async with self.registry.open("acme") as register:
            await register.put_tier_decision(TierDecision(WIKI, tier, "why", "maria", NOW))
        await self.decisions.refresh()

    async def put(self, *identifiers: str) -> None:
        seal = await self.vault.seal_for(Owner.index("acme"))
        sealed = seal.close(pack(identifiers)).SerializeToString()
        async with self.registry.open("acme") as register:
            await register.put_dictionary(StoredDictionary("acme", len(identifiers), sealed, "maria", NOW))

    async def classify(self, text: str, *, tenant: str = "acme") -> Verdict:
        await self.dictionaries.refresh()
        return await classify(
            Submission(Provenance(tenant, source="wiki", declared=Tier.TIER_1), text),
            policy=read_policy(None),
            inspector=self.inspector,
            decisions=self.decisions,
            dictionaries=self.dictionaries,
        )


@pytest_asyncio.fixture
async def governed(masker: SecretMasker, detector: PersonalDataDetector) -> AsyncIterator[Governed]:
    whole = TextDetector(detector, NameReader(load_given_names(), load_name_shapes()), None)
    async with open_inspector(masker, whole, limit=TimeLimit(5.0, 10.0), threads=1) as inspector:
        yield Governed(inspector)


async def test_an_identifier_of_the_tenants_own_raises_the_tier(governed: Governed) -> None:
    text = "How far is projekt nordlicht?"
    assert (await governed.classify(text)).tier is Tier.TIER_1
    await governed.put("Projekt Nordlicht", "KD-2044-881")
    verdict = await governed.classify(text)
    assert (verdict.tier, verdict.reason) == (Tier.TIER_2, TierReason.DETECTED)
    assert {finding.kind for finding in verdict.findings} == {FindingKind.IDENTIFIER}
    assert "nordlicht" not in repr(verdict.findings).lower()
    assert (await governed.classify(text, tenant="other")).tier is Tier.TIER_1


async def test_a_dictionary_that_cannot_be_opened_makes_every_text_unsure(governed: Governed) -> None:
    await governed.put("Projekt Nordlicht")
    governed.keyring.destroy(Owner.index("acme"))
    governed.vault.forget()
    verdict = await governed.classify("What does nonlocal do?")
    assert (verdict.tier, verdict.reason) == (Tier.TIER_2, TierReason.DETECTION_FAILED)
    assert (await governed.classify("What does nonlocal do?", tenant="other")).tier is Tier.TIER_1


@pytest.mark.parametrize("tier", Tier)
async def test_a_decision_sets_the_tier_records_what_is_found_and_masks_secrets(governed: Governed, tier: Tier) -> None:
    await governed.decide(tier)
    verdict = await governed.classify("Mail bob@acme.com, password=hunter2")
    assert (verdict.tier, verdict.reason) == (tier, TierReason.DECIDED)
    assert {finding.rule for finding in verdict.findings} >= {"email", "password"}
    assert verdict.text.reveal() == "Mail bob@acme.com, password=[secret:password]"


async def test_a_decision_opens_nothing_that_could_not_be_looked_into(governed: Governed) -> None:
    await governed.decide(Tier.PUBLIC)
    await governed.put("Projekt Nordlicht")
    governed.keyring.destroy(Owner.index("acme"))
    governed.vault.forget()
    verdict = await governed.classify("What does nonlocal do?")
    assert (verdict.tier, verdict.reason) == (Tier.TIER_2, TierReason.DETECTION_FAILED)


async def test_a_decision_that_lapsed_sets_nothing(governed: Governed) -> None:
    await governed.decide(Tier.PUBLIC)
    governed.seconds += LAPSE_SECONDS
    verdict = await governed.classify("Mail bob@acme.com")
    assert (verdict.tier, verdict.reason) == (Tier.TIER_2, TierReason.DETECTED)
