"""Tokens: whom they prove, and what is remembered of them. What gets in nowhere is in tests/security."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from headrace_identity import (
    Identities,
    Limit,
    Principal,
    PrivateKey,
    TokenMaker,
    Unproven,
    Verifier,
    acting_as,
    current_principal,
    new_key,
)
from headrace_identity.testing import Issuer
from headrace_identity.tokens import sign_json


class Clock:
    """Tells the time that it is told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Counting(Identities):
    """Counts how often a key was looked for, which is how often a signature was verified."""

    searched = 0

    async def find(self, kid: str):  # type: ignore[no-untyped-def]
        self.searched += 1
        return await super().find(kid)


def token_by(key: PrivateKey, role: str = "product", tenant: str = "acme") -> str:
    return TokenMaker(key, issuer="headrace", audience="headrace").make(
        role=role, tenant=tenant, subject="ann", now=time.time(), seconds=60
    )


async def test_a_token_proves_role_tenant_and_subject() -> None:
    issuer = Issuer()
    token = issuer.token("product", tenant="acme", subject="ann")
    assert await issuer.verifier().verify(token) == Principal("product", "acme", "ann")


@pytest.mark.parametrize(
    "key",
    [
        PrivateKey("p-256", "ES256", ec.generate_private_key(ec.SECP256R1()), None),
        PrivateKey("rsa", "RS256", rsa.generate_private_key(65537, 2048), None),
    ],
    ids=["ES256", "RS256"],
)
async def test_other_issuers_keys_are_believed_too(key: PrivateKey) -> None:
    assert (await Issuer(key).verifier().verify(token_by(key))).role == "product"


@pytest.mark.parametrize("kind", ["JWT", "at+jwt"])
async def test_other_issuers_types_are_read(kind: str) -> None:
    issuer = Issuer()
    now = int(time.time())
    claims = {"iss": "headrace", "aud": ["headrace", "x"], "iat": now, "exp": now + 60, "sub": "", "role": "sre"}
    assert await issuer.verifier().verify(sign_json({**claims, "tenant": "*"}, issuer.key, kind=kind))


async def test_a_limited_key_speaks_for_its_roles_and_tenants_only() -> None:
    key = new_key("acme", limit=Limit(frozenset({"product"}), frozenset({"acme"})))
    verifier = Issuer(key).verifier()
    assert (await verifier.verify(token_by(key))).tenant == "acme"
    for role, tenant in (("developer", "acme"), ("product", "other"), ("privacy", "*")):
        with pytest.raises(Unproven, match="beyond_its_key"):
            await verifier.verify(token_by(key, role, tenant))


def counting(issuer: Issuer, clock: Clock) -> tuple[Counting, Verifier]:
    known = issuer.identities()
    identities = Counting({"test": known.known("test")}, lambda: "", origin="a test", clock=clock)  # type: ignore[dict-item]
    return identities, Verifier(identities, issuer="headrace", audience="headrace", clock=clock)


async def test_a_token_is_verified_once_and_still_ends() -> None:
    clock = Clock()
    issuer = Issuer(clock=clock)
    identities, verifier = counting(issuer, clock)
    token = issuer.token("product", tenant="acme", seconds=60)
    for _ in range(3):
        await verifier.verify(token)
    assert identities.searched == 1
    clock.now += 60 + 29
    await verifier.verify(token)
    clock.now += 1
    with pytest.raises(Unproven, match="expired"):
        await verifier.verify(token)


async def test_what_is_remembered_is_forgotten_when_the_keys_change() -> None:
    clock = Clock()
    issuer = Issuer(clock=clock)
    identities, verifier = counting(issuer, clock)
    token = issuer.token("product", tenant="acme")
    await verifier.verify(token)
    identities._keys.clear()
    identities.generation += 1
    with pytest.raises(Unproven, match="unknown_key"):
        await verifier.verify(token)


async def test_no_more_is_remembered_than_fits() -> None:
    issuer = Issuer()
    verifier = issuer.verifier()
    for number in range(4_100):
        verifier._remember(number.to_bytes(4), Principal("product", "acme", ""), 0.0)
    assert len(verifier._remembered) == 4_096


def test_a_leeway_of_more_than_a_minute_is_none() -> None:
    with pytest.raises(ValueError, match="at most 60"):
        Verifier(Issuer().identities(), issuer="headrace", audience="headrace", leeway_seconds=61)


def test_a_principal_is_current_within_a_call_only() -> None:
    with pytest.raises(LookupError):
        current_principal()
    with acting_as(Principal("privacy", "*", "petra")):
        assert current_principal().is_of_all_tenants
    with pytest.raises(LookupError):
        current_principal()


def test_keys_print_no_secret() -> None:
    key = new_key("k")
    assert "material" not in repr(key)
    assert key.jwk()["d"] not in repr(key)
    assert "d" not in key.public_jwk()
