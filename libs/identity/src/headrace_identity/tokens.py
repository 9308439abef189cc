"""Tokens: JSON Web Tokens (RFC 7519) that say who is asking, made with a private key and verified with its public one.

Claims: iss, aud, exp, iat, sub (may be empty), role, tenant ("*" only for roles that speak for all), and nbf if wanted.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from jwt.api_jws import PyJWS
from jwt.exceptions import InvalidAlgorithmError, InvalidSignatureError, PyJWTError

from headrace_identity.errors import Flaw, Unproven
from headrace_identity.identities import Identities
from headrace_identity.keys import ALGORITHMS, PrivateKey, PublicKey
from headrace_identity.principal import EVERYBODY, Principal, is_role, may_speak_for_all

#: So many seconds may two clocks differ, at most.
LONGEST_LEEWAY = 60
_MOST_CHARACTERS = 4_096
_MOST_REMEMBERED = 4_096
_TYPE = "JWT"
#: What other issuers write there, RFC 9068 among them.
_TYPES = (_TYPE, "", "jwt", "at+jwt", "application/at+jwt")

JWS = PyJWS(algorithms=list(ALGORITHMS))


class TokenMaker:
    """Makes tokens with a private key."""

    def __init__(self, key: PrivateKey, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    def make(self, *, role: str, tenant: str, subject: str, now: float, seconds: float) -> str:
        """Returns a token that holds from now on, for so many seconds."""
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": int(now),
            "exp": int(now + seconds),
            "sub": subject,
            "role": role,
            "tenant": tenant,
        }
        return sign_json(claims, self._key, kind=_TYPE)


def sign_json(claims: Mapping[str, Any], key: PrivateKey, *, kind: str) -> str:
    """Returns a compact JWS of the claims."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return JWS.encode(payload, key.material, algorithm=key.algorithm, headers={"kid": key.kid, "typ": kind})


class Verifier:
    """Says who a token proves its bearer to be.

    What was verified is remembered until it ends or the keys change, so a caller with one token costs one signature.
    `clock` is the time in seconds since 1970.
    """

    def __init__(
        self,
        identities: Identities,
        *,
        issuer: str,
        audience: str,
        leeway_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= leeway_seconds <= LONGEST_LEEWAY:
            raise ValueError(f"a leeway of {leeway_seconds} s: at most {LONGEST_LEEWAY}")
        self._identities = identities
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway_seconds
        self._clock = clock
        self._generation = identities.generation
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Returns who the token speaks for. Raises Unproven."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._recall(digest)
        if known is not None:
            return known
        claims, key = await read_signed(token, self._identities, kinds=_TYPES)
        principal, until = self._check(claims, key)
        self._remember(digest, principal, until)
        return principal

    def _recall(self, digest: bytes) -> Principal | None:
        if self._generation != self._identities.generation:
            self._remembered.clear()
            self._generation = self._identities.generation
        found = self._remembered.get(digest)
        if found is None:
            return None
        if self._clock() >= found[1]:
            raise Unproven("expired")
        self._remembered.move_to_end(digest)
        return found[0]

    def _remember(self, digest: bytes, principal: Principal, until: float) -> None:
        self._remembered[digest] = (principal, until)
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def _check(self, claims: Mapping[str, Any], key: PublicKey) -> tuple[Principal, float]:
        until = self._check_times(claims)
        if claims.get("iss") != self._issuer:
            raise Unproven("wrong_issuer")
        check_audience(claims, self._audience)
        principal = _principal_of(claims)
        if not key.allows(principal.role, principal.tenant):
            raise Unproven("beyond_its_key")
        return principal, until

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Returns when the token ends, leeway included."""
        now = self._clock()
        until = number(claims, "exp") + self._leeway
        if now >= until:
            raise Unproven("expired")
        if max(number(claims, "iat"), number({"nbf": 0, **claims}, "nbf")) > now + self._leeway:
            raise Unproven("not_yet_valid")
        return until


async def read_signed(
    token: str, identities: Identities, *, kinds: tuple[str, ...]
) -> tuple[dict[str, Any], PublicKey]:
    """Returns the claims of a compact JWS of one of these types, and the key that signed it. Raises Unproven.

    What was signed as one thing never passes for another: a type "" stands for a header without one.
    """
    header = _header_of(token)
    if header.get("alg") not in ALGORITHMS:
        raise Unproven("wrong_algorithm")
    if header.get("typ", "") not in kinds:
        raise Unproven("malformed")
    key = await identities.find(str(header.get("kid", "")))
    if key is None:
        raise Unproven("unknown_key")
    try:
        payload = JWS.decode(token, key.material, algorithms=[key.algorithm])
        claims = json.loads(payload)
    except (PyJWTError, ValueError, RecursionError) as error:
        raise Unproven(_flaw_of(error)) from None
    if not isinstance(claims, dict):
        raise Unproven("malformed")
    return claims, key


def _header_of(token: str) -> dict[str, Any]:
    if len(token) > _MOST_CHARACTERS or token.count(".") != 2:
        raise Unproven("malformed")
    try:
        header: dict[str, Any] = JWS.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise Unproven("malformed") from None
    return header


def _flaw_of(error: Exception) -> Flaw:
    if isinstance(error, InvalidSignatureError):
        return "wrong_signature"
    return "wrong_algorithm" if isinstance(error, InvalidAlgorithmError) else "malformed"


def check_audience(claims: Mapping[str, Any], audience: str) -> None:
    """Raises Unproven for what is meant for somebody else."""
    meant = claims.get("aud")
    if audience != meant and not (isinstance(meant, list) and audience in meant):
        raise Unproven("wrong_audience")


def number(claims: Mapping[str, Any], name: str) -> float:
    """Returns a claim that is a number. Raises Unproven."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unproven("missing_claim")
    return float(value)


def text(claims: Mapping[str, Any], name: str) -> str:
    """Returns a claim that is a text. Raises Unproven."""
    value = claims.get(name)
    if not isinstance(value, str):
        raise Unproven("missing_claim")
    return value


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    role, tenant, subject = text(claims, "role"), text(claims, "tenant"), text(claims, "sub")
    if not is_role(role):
        raise Unproven("unknown_role")
    if not tenant or (tenant == EVERYBODY and not may_speak_for_all(role)):
        raise Unproven("missing_claim")
    return Principal(role, tenant, subject)
