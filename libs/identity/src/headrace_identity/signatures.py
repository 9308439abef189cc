"""Signatures of events: who put a record on the bus, and for whom.

A publisher signs the record's value; the signature travels beside it as a header, a compact JWS whose payload has the
topic, tenant, product and subject of the event and the digest of its value. It has no end: a durable event is verified
when it is read, which may be tomorrow, and the same event twice has no effect. A publisher that must not be believed
any more loses its key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from headrace_identity.errors import Unproven
from headrace_identity.identities import Identities
from headrace_identity.keys import PrivateKey
from headrace_identity.tokens import LONGEST_LEEWAY, check_audience, number, read_signed, sign_json, text

#: The record's header.
SIGNATURE = "headrace-signature"
_TYPE = "headrace-event"


@dataclass(frozen=True, slots=True)
class About:
    """What an event says of itself, and a signature of it. product and subject may be empty."""

    topic: str
    tenant: str
    product: str
    subject: str


class Signer:
    """Signs events with one key."""

    def __init__(self, key: PrivateKey, *, audience: str) -> None:
        self._key = key
        self._audience = audience

    def sign(self, value: bytes, about: About, *, now: float) -> str:
        """Returns the signature of a record's value."""
        claims = {
            "aud": self._audience,
            "iat": int(now),
            "topic": about.topic,
            "tenant": about.tenant,
            "product": about.product,
            "sub": about.subject,
            "sha256": _digest(value),
        }
        return sign_json(claims, self._key, kind=_TYPE)


class SignatureVerifier:
    """Says whether events are what their publishers signed."""

    def __init__(self, identities: Identities, *, audience: str) -> None:
        self._identities = identities
        self._audience = audience

    async def verify(self, signature: str, value: bytes, *, topic: str, roles: Collection[str], now: float) -> About:
        """Returns for whom a record speaks, as it was signed. Whoever reads its value compares that.

        Raises Unproven unless a key that speaks for one of the roles and the tenant signed this value for the topic.
        """
        if not signature:
            raise Unproven("unsigned")
        claims, key = await read_signed(signature, self._identities, kinds=(_TYPE,))
        check_audience(claims, self._audience)
        if number(claims, "iat") > now + LONGEST_LEEWAY:
            raise Unproven("not_yet_valid")
        if text(claims, "sha256") != _digest(value):
            raise Unproven("wrong_digest")
        if text(claims, "topic") != topic:
            raise Unproven("wrong_topic")
        signed = About(topic, text(claims, "tenant"), text(claims, "product"), text(claims, "sub"))
        if not signed.tenant or not any(key.allows(role, signed.tenant) for role in roles):
            raise Unproven("beyond_its_key")
        return signed


def _digest(value: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(value).digest()).rstrip(b"=").decode()
