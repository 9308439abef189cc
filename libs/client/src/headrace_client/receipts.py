"""Verifying an erasure's receipt and its completion: they are what the classifier signed, word for word."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from headrace_identity import EVERYBODY, UnusableKey
from headrace_identity.keys import parse_key_set
from headrace_identity.tokens import JWS
from jwt.exceptions import PyJWTError

from headrace_client.errors import NotConfigured

#: What the classifier writes as the signatures' types (RFC 7515, "typ").
KIND = "headrace-receipt+jwt"
COMPLETION = "headrace-completion+jwt"
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
    return _verified(receipt, key_set, kind=KIND, what="receipt")


def verify_completion(completion: str, receipt: str, key_set: str) -> dict[str, Any]:
    """Returns what the completion of a receipt says: what became of the models. Raises Forged, of another receipt's
    too, and NotConfigured."""
    claims = _verified(completion, key_set, kind=COMPLETION, what="completion")
    if claims.get("receipt_sha256") != hashlib.sha256(receipt.encode()).hexdigest():
        raise Forged("It completes another receipt.")
    return claims


def _verified(signed: str, key_set: str, *, kind: str, what: str) -> dict[str, Any]:
    try:
        keys = parse_key_set(key_set, origin="the set of keys")
    except UnusableKey as error:
        raise NotConfigured(f"{error}.") from error
    try:
        header = JWS.get_unverified_header(signed)
        key = keys.get(str(header.get("kid", "")))
        if header.get("typ") != kind or key is None or not key.allows(SIGNER, EVERYBODY):
            raise Forged("The classifier has not signed it.")
        claims = json.loads(JWS.decode(signed, key.material, algorithms=[key.algorithm]))
    except (PyJWTError, ValueError, RecursionError) as error:
        raise Forged(f"Its signature does not fit: it was changed, or is no {what}.") from error
    if not isinstance(claims, dict):
        raise Forged(f"It is no {what}.")
    return claims
