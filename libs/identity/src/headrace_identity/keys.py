"""Keys as JSON Web Keys (RFC 7517): Ed25519, P-256 and RSA of at least 2,048 bits. Never a shared secret.

A key may be limited by a member of ours, `"headrace": {"roles": ["service:ingest"], "tenants": ["*"]}`: then it speaks
for these roles and tenants and no others. A key without it speaks for all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from headrace_identity.errors import UnusableKey
from headrace_identity.principal import EVERYBODY

#: What signs here. Nothing symmetric, and never "none".
ALGORITHMS = ("EdDSA", "ES256", "RS256")
LEAST_RSA_BITS = 2048
LIMIT = "headrace"

_TROUBLE = (PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class Limit:
    """Whom a key speaks for."""

    roles: frozenset[str]
    tenants: frozenset[str]

    def allows(self, role: str, tenant: str) -> bool:
        """Says whether it speaks for the role and the tenant."""
        return role in self.roles and (EVERYBODY in self.tenants or tenant in self.tenants)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What verifies. limit: None for a key that speaks for all."""

    kid: str
    algorithm: str
    material: Any
    limit: Limit | None

    def allows(self, role: str, tenant: str) -> bool:
        """Says whether the key speaks for the role and the tenant."""
        return self.limit is None or self.limit.allows(role, tenant)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs. limit: whom others believe it to speak for; None for all."""

    kid: str
    algorithm: str
    material: Any = field(repr=False)
    limit: Limit | None

    def jwk(self) -> dict[str, Any]:
        """Returns the private JWK, as it is kept in a file."""
        return _to_jwk(self.material, self)

    def public_jwk(self) -> dict[str, Any]:
        """Returns what others verify with, as a set of keys holds it."""
        return _to_jwk(self.material.public_key(), self)


def new_key(kid: str, *, limit: Limit | None = None) -> PrivateKey:
    """Makes an Ed25519 key."""
    return PrivateKey(kid, "EdDSA", ed25519.Ed25519PrivateKey.generate(), limit)


def _to_jwk(material: Any, key: PrivateKey) -> dict[str, Any]:
    makers: dict[str, Any] = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}
    made = makers[key.algorithm].to_jwk(material, as_dict=True)
    made.pop("key_ops", None)
    jwk = {**made, "kid": key.kid, "alg": key.algorithm, "use": "sig"}
    if key.limit is not None:
        jwk[LIMIT] = {"roles": sorted(key.limit.roles), "tenants": sorted(key.limit.tenants)}
    return jwk


def parse_key_set(content: str, *, origin: str) -> dict[str, PublicKey]:
    """Reads a set of public keys, by id. Keys of kinds that sign nothing here are left out.

    Raises UnusableKey when it is no such set, holds a private key, names an id twice or has no key that can be used.
    """
    try:
        members = json.loads(content)["keys"]
        found = [key for member in members if (key := _public_key(member, origin)) is not None]
    except _TROUBLE as error:
        raise UnusableKey(f"{origin} is not a JSON Web Key Set") from error
    keys = {key.kid: key for key in found}
    if not keys or len(keys) < len(found):
        raise UnusableKey(f"{origin} has {'one kid twice' if keys else 'no key that can be used'}")
    return keys


def _public_key(member: Mapping[str, Any], origin: str) -> PublicKey | None:
    if "d" in member:
        raise UnusableKey(f"{origin} holds a private key: leave only public ones there")
    if not member.get("kid") or member.get("use", "sig") != "sig":
        return None
    try:
        material = PyJWK(dict(member)).key
    except PyJWTError:
        return None
    algorithm = _algorithm_of(material)
    if algorithm is None or member.get("alg", algorithm) != algorithm:
        return None
    return PublicKey(str(member["kid"]), algorithm, material, _limit_of(member))


def _algorithm_of(material: Any) -> str | None:
    if isinstance(material, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(material, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return "ES256" if isinstance(material.curve, ec.SECP256R1) else None
    if isinstance(material, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return "RS256" if material.key_size >= LEAST_RSA_BITS else None
    return None


def _limit_of(member: Mapping[str, Any]) -> Limit | None:
    if LIMIT not in member:
        return None
    limit = member[LIMIT]
    return Limit(_words(limit["roles"]), _words(limit["tenants"]))


def _words(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("a limit is two lists of words")
    return frozenset(value)


def read_private_key(path: Path) -> PrivateKey:
    """Reads a private key: a JWK, or PEM, whose id is then its thumbprint. Raises UnusableKey."""
    try:
        content = path.read_text(encoding="utf-8")
        return _private_jwk(json.loads(content)) if content.lstrip().startswith("{") else _private_pem(content)
    except OSError as error:
        raise UnusableKey(f"the private key {path} cannot be read ({error.strerror})") from error
    except _TROUBLE as error:
        raise UnusableKey(f"{path} is not a private key: a JWK or PEM of Ed25519, P-256 or RSA") from error


def _private_jwk(member: Mapping[str, Any]) -> PrivateKey:
    material = PyJWK(dict(member)).key
    algorithm = _algorithm_of(material)
    if algorithm is None or "d" not in member:
        raise ValueError("no private key of a kind that signs here")
    return PrivateKey(str(member["kid"]), algorithm, material, _limit_of(member))


def _private_pem(content: str) -> PrivateKey:
    material = load_pem_private_key(content.encode(), password=None)
    algorithm = _algorithm_of(material)
    if algorithm is None:
        raise ValueError("no key of a kind that signs here")
    key = PrivateKey("", algorithm, material, None)
    return PrivateKey(_thumbprint(key.public_jwk()), algorithm, material, None)


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: SHA-256 over the required members in order."""
    required = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    digest = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def key_set(keys: Iterable[PrivateKey]) -> dict[str, Any]:
    """Returns the set that others verify with."""
    return {"keys": [key.public_jwk() for key in keys]}
