"""Verifying an erasure's receipt: it is what the classifier signed, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headrace_identity import EVERYBODY, UnusableKey
from headrace_identity.keys import parse_key_set
from headrace_identity.tokens import JWS
from jwt.exceptions import PyJWTError

from headrace_client.errors import NotConfigured

#: What the classifier writes as the signature's type (RFC 7515, "typ").
KIND = "headrace-receipt+jwt"
SIGNER = "service:classifier"


class Forged(Exception):
    """It is no receipt that the classifier signed; the text says why."""


def read_keys(path: Path) -> str:
    """Reads the set of public keys that services believe. Raises NotConfigured."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotConfigured(f"The set of keys {path} cannot be read ({type(error).__name__}).") from error


def verify_receipt(receipt: str, key_set: str) -> dict[str, Any]:
    """Returns what a receipt says. Raises Forged, NotConfigured for a set of keys that is none."""
    try:
        keys = parse_key_set(key_set, origin="the set of keys")
    except UnusableKey as error:
        raise NotConfigured(f"{error}.") from error
    try:
        header = JWS.get_unverified_header(receipt)
        key = keys.get(str(header.get("kid", "")))
        if header.get("typ") != KIND or key is None or not key.allows(SIGNER, EVERYBODY):
            raise Forged("The classifier has not signed it.")
        claims = json.loads(JWS.decode(receipt, key.material, algorithms=[key.algorithm]))
    except (PyJWTError, ValueError, RecursionError) as error:
        raise Forged("Its signature does not fit: it was changed, or is no receipt.") from error
    if not isinstance(claims, dict):
        raise Forged("It is no receipt.")
    return claims
