"""Signatures of events. What a service does with one that proves nothing is in services/ingest/tests."""

from __future__ import annotations

import pytest
from headrace_identity import Limit, Unproven, new_key
from headrace_identity.signatures import About, SignatureVerifier, Signer
from headrace_identity.testing import Issuer

PRODUCT = new_key("product", limit=Limit(frozenset({"product"}), frozenset({"acme"})))
ISSUER = Issuer(PRODUCT)
ABOUT = About("query.submitted", "acme", "shop", "ann")
NOW = 1_800_000_000.0


async def verify(
    signature: str, value: bytes = b"value", *, topic: str = "query.submitted", role: str = "product"
) -> About:
    verifier = SignatureVerifier(ISSUER.identities(), audience="headrace")
    return await verifier.verify(signature, value, topic=topic, roles={role}, now=NOW)


def sign(about: About = ABOUT, *, audience: str = "headrace", now: float = NOW) -> str:
    return Signer(PRODUCT, audience=audience).sign(b"value", about, now=now)


async def test_a_signature_says_for_whom_the_event_is() -> None:
    assert await verify(sign()) == ABOUT


async def test_a_signature_has_no_end() -> None:
    assert await verify(sign(now=NOW - 10 * 365 * 86_400)) == ABOUT


async def test_what_it_does_not_prove() -> None:
    cases = [
        ("unsigned", verify("")),
        ("malformed", verify("a.b.c")),
        ("malformed", verify(ISSUER.token("product", tenant="acme"))),
        ("wrong_digest", verify(sign(), b"another")),
        ("wrong_topic", verify(sign(), topic="feedback.submitted")),
        ("wrong_audience", verify(sign(audience="others"))),
        ("not_yet_valid", verify(sign(now=NOW + 61))),
        ("beyond_its_key", verify(sign(), role="steward")),
        ("beyond_its_key", verify(sign(About("query.submitted", "other", "", "")))),
        ("beyond_its_key", verify(sign(About("query.submitted", "", "", "")))),
        ("unknown_key", verify(Signer(new_key("x"), audience="headrace").sign(b"value", ABOUT, now=NOW))),
        ("wrong_signature", verify(Signer(new_key("product"), audience="headrace").sign(b"value", ABOUT, now=NOW))),
    ]
    for flaw, verifying in cases:
        with pytest.raises(Unproven) as caught:
            await verifying
        assert caught.value.flaw == flaw
