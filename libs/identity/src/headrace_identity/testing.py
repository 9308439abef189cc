"""For tests: an issuer of their own, whose tokens a server believes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from headrace.access import METHODS

from headrace_identity.identities import Identities
from headrace_identity.keys import PrivateKey, key_set, new_key, parse_key_set
from headrace_identity.principal import EVERYBODY, may_speak_for_all
from headrace_identity.tokens import TokenMaker, Verifier

ISSUER = AUDIENCE = "headrace"


class Issuer:
    """A throw-away issuer, and whoever else's keys are to be believed."""

    def __init__(self, *others: PrivateKey, clock: Callable[[], float] = time.time) -> None:
        self.key = new_key("test")
        self.clock = clock
        self._keys = [self.key, *others]
        self._maker = TokenMaker(self.key, issuer=ISSUER, audience=AUDIENCE)

    def token(self, role: str, *, tenant: str = EVERYBODY, subject: str = "", seconds: float = 600) -> str:
        """Returns a token."""
        return self._maker.make(role=role, tenant=tenant, subject=subject, now=self.clock(), seconds=seconds)

    def identities(self) -> Identities:
        """Returns the keys that are believed; they stay as they are."""
        content = json.dumps(key_set(self._keys))
        return Identities(parse_key_set(content, origin="a test"), lambda: content, origin="a test", clock=self.clock)

    def verifier(self) -> Verifier:
        """Returns what believes this issuer."""
        return Verifier(self.identities(), issuer=ISSUER, audience=AUDIENCE, clock=self.clock)

    def write_identities(self, path: Path) -> Path:
        """Writes the set of public keys to a file, for a service's settings."""
        path.write_text(json.dumps(key_set(self._keys)))
        return path

    def settings(self, folder: Path) -> dict[str, Any]:
        """Returns the settings of a service that believes this issuer, and signs with its key."""
        key = folder / "service.jwk"
        key.write_text(json.dumps(self.key.jwk()))
        return {"identities": str(self.write_identities(folder / "identities.json")), "service_key": key}

    def credentials(self, role: str = "", *, tenant: str = EVERYBODY, subject: str = "") -> TestCredentials:
        """Returns credentials for calls: of one role, or of a role that each method allows."""
        return TestCredentials(self, role, tenant=tenant, subject=subject)


class TestCredentials:
    """Tokens made for each call. Without a tenant of its own, or a role, it takes those that the call needs."""

    __test__ = False

    def __init__(self, issuer: Issuer, role: str, *, tenant: str, subject: str) -> None:
        self._issuer = issuer
        self._role = role
        self._tenant = tenant
        self._subject = subject

    def token(self, method: str, request: Message) -> str:
        """Returns a token that the call passes with."""
        access = METHODS.get(method)
        if access is None:
            return self._issuer.token(self._role or "sre", tenant=self._tenant)
        role = self._role or min(access.roles)
        stated = _read(request, access.tenant.split(".")) if access.tenant else ""
        tenant = self._tenant
        if tenant == EVERYBODY and not may_speak_for_all(role):
            tenant = stated or "nobody"
        subject = self._subject or (_read(request, access.subject.split(".")) if access.subject else "")
        return self._issuer.token(role, tenant=tenant, subject=subject)


def _read(message: object, path: Iterable[str]) -> str:
    for name in path:
        message = getattr(message, name)
    return str(message)
