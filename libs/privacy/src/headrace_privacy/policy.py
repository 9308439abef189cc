"""The policy: what may be used for what, by whom. `headrace_privacy.policy_file` reads it.

A policy says for each purpose and tier which roles may (allow) and which may once the privacy team has granted it
(grant). What it does not list is denied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from headrace import access

from headrace_privacy.tier import Tier

#: The services that a role can name, those that are yet to come among them.
SERVICES = ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", "trainer")

#: Every role that a policy can name.
ROLES: tuple[str, ...] = (
    *(role for role in access.ROLES if role != "service"),
    *(f"service:{name}" for name in SERVICES),
)

#: The backend in the process, or on this machine.
LOCAL_BACKEND = "local"
#: Any outside server that the policy does not name.
OTHER_BACKENDS = "*"


class Purpose(IntEnum):
    """What a record is used for. The numbers are those of headrace.privacy.v1.Purpose."""

    ANSWER = 1
    LOG = 2
    EVALUATE = 3
    REVIEW = 4
    TRAIN = 5
    SHARE = 6

    @property
    def label(self) -> str:
        """How it is written in the policy and on the command line."""
        return self.name.lower()


class RulingKind(IntEnum):
    """What a policy can say. The numbers are those of headrace.privacy.v1.Ruling."""

    ALLOW = 1
    DENY = 2
    GRANT = 3

    @property
    def openness(self) -> int:
        """How much it lets through: 0 nothing, 1 what is granted, 2 everything."""
        return {RulingKind.DENY: 0, RulingKind.GRANT: 1, RulingKind.ALLOW: 2}[self]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What holds, and why: the policy's key and, where it has any, its own words."""

    kind: RulingKind
    reason: str

    def __and__(self, other: Ruling) -> Ruling:
        """The stricter of two; this one where both are as strict."""
        return other if other.kind.openness < self.kind.openness else self


@dataclass(frozen=True, slots=True)
class Cell:
    """The roles that one purpose and tier lists."""

    allow: frozenset[str] = frozenset()
    grant: frozenset[str] = frozenset()

    def kind_for(self, role: str) -> RulingKind:
        """What holds for a role."""
        if role in self.allow:
            return RulingKind.ALLOW
        return RulingKind.GRANT if role in self.grant else RulingKind.DENY


@dataclass(frozen=True, slots=True)
class Policy:
    """What the policy file says. Products and sources that it does not list have no tier here."""

    version: str
    products: Mapping[str, Tier] = field(default_factory=dict)
    sources: Mapping[tuple[str, str], Tier] = field(default_factory=dict)
    purposes: Mapping[tuple[Purpose, Tier], Cell] = field(default_factory=dict)
    words: Mapping[Purpose, str] = field(default_factory=dict)
    backends: Mapping[str, Mapping[Tier, RulingKind]] = field(default_factory=dict)
    longest_grant_days: int = 0
    retention_days: Mapping[Tier, int] = field(default_factory=dict)
    sha256: str = ""

    def tier_of_product(self, product: str) -> Tier | None:
        """Returns the tier of what this product asks, None when the policy does not list it."""
        return self.products.get(product)

    def tier_of_source(self, tenant: str, source: str) -> Tier | None:
        """Returns the tier of this tenant's source, None when the policy does not list it."""
        return self.sources.get((tenant, source))

    def ruling(self, purpose: Purpose, tier: Tier, role: str) -> Ruling:
        """Returns what holds for a role that would use records of a tier for a purpose."""
        kind = self.purposes.get((purpose, tier), Cell()).kind_for(role)
        place = f"purposes.{purpose.label}.{tier.label}"
        said = {
            RulingKind.ALLOW: f"{place} allows it to {role}",
            RulingKind.GRANT: f"{place} allows it to {role} under a grant",
            RulingKind.DENY: f"{place} does not list {role}",
        }[kind]
        words = self.words.get(purpose, "")
        return Ruling(kind, f"{said}. {words}" if words else said)

    def clearance(self, role: str) -> Tier | None:
        """Returns the strictest tier that a role may be answered from, None when from none."""
        allowed = [t for t in Tier if self.ruling(Purpose.ANSWER, t, role).kind is RulingKind.ALLOW]
        return max(allowed, default=None)

    def backend_ruling(self, backend: str, tier: Tier) -> Ruling:
        """Returns what holds for sending text of a tier to a model's server: "local", or a host without its port."""
        host = backend.lower()
        name = host if host in self.backends else OTHER_BACKENDS
        if host == LOCAL_BACKEND:
            name = LOCAL_BACKEND
        kind = self.backends.get(name, {}).get(tier, RulingKind.DENY)
        said = {
            RulingKind.ALLOW: "allows it",
            RulingKind.GRANT: "allows it under a grant",
            RulingKind.DENY: "denies it",
        }
        return Ruling(kind, f"backends.{name}.{tier.label} {said[kind]}")

    def grantable(self, purpose: Purpose, tier: Tier) -> Ruling:
        """Returns GRANT where a grant would open something, else ALLOW or DENY: it would change nothing."""
        kinds = {self.purposes.get((purpose, tier), Cell()).kind_for(role) for role in ROLES}
        place = f"purposes.{purpose.label}.{tier.label}"
        if purpose is Purpose.ANSWER:
            kinds |= {self.backend_ruling(name, tier).kind for name in self.backends}
        if RulingKind.GRANT in kinds:
            return Ruling(RulingKind.GRANT, f"{place} can be granted")
        if RulingKind.ALLOW in kinds:
            return Ruling(RulingKind.ALLOW, f"{place} needs no grant")
        return Ruling(RulingKind.DENY, f"{place} is denied to every role, and no grant changes that")

    def retention(self, tier: Tier) -> int:
        """Returns for how many days records of a tier are kept; 0: without limit."""
        return self.retention_days.get(tier, 0)
