"""Who calls: every role of the table of access, and tokens that prove nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.access import METHODS, ROLES
from headrace_identity import PrivateKey, new_key, read_private_key
from headrace_identity.principal import may_speak_for_all
from headrace_identity.tokens import sign_json

SERVICES = sorted({role for access in METHODS.values() for role in access.roles if role.startswith("service:")})
ROLES_OF_ALL = [role for role in ROLES if role != "service"] + SERVICES + ["service:stranger"]
_ONE = "service:embedder"
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes tokens with the house's own keys."""

    issuer: PrivateKey
    services: tuple[PrivateKey, PrivateKey]

    def of(self, role: str, tenant: str, *, subject: str = "") -> str:
        """A good token."""
        return self._signed(self.issuer, role=role, tenant=tenant, subject=subject or _somebody(role))

    def useless(self, role: str, tenant: str) -> Mapping[str, str]:
        """Tokens that prove nothing, by what is wrong with each."""
        now, said = int(time.time()), {"role": role, "tenant": tenant}
        return {
            "none": "",
            "expired": self._signed(self.issuer, **said, iat=now - 900, exp=now - 300),
            "wrong audience": self._signed(self.issuer, **said, aud="others"),
            "forged": self._signed(new_key(self.issuer.kid), **said),
            "a service's key for another role": self._signed(self.services[role == _ONE], **said),
        }

    def _signed(self, key: PrivateKey, *, role: str, tenant: str, subject: str = "", **other: Any) -> str:
        now = int(time.time())
        who = {"sub": subject, "role": role, "tenant": tenant}
        good = {"iss": "headrace", "aud": "headrace", "iat": now, "exp": now + 600, **who}
        return sign_json({**good, **other}, key, kind="JWT")


def open_tokens(keys: Path) -> Tokens:
    """Reads the keys of a house: the issuer's, and those of two services, which are used for what they are not for."""
    one, other = (read_private_key(keys / "services" / f"{name}.jwk") for name in ("embedder", "ingest"))
    return Tokens(read_private_key(keys / "issuer.jwk"), (one, other))


def tenants_of(role: str, own: str) -> list[str]:
    """For whom a good token of a role may speak."""
    return [own, EVERYBODY] if may_speak_for_all(role) else [own]


def _somebody(role: str) -> str:
    """A colleague by name. A product that names no end user speaks for none."""
    return "" if role == "product" else f"matrix-{role.rpartition(':')[2]}"
