"""What a caller shows with each call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import Message

from headrace_identity.principal import EVERYBODY
from headrace_identity.tokens import TokenMaker

#: The metadata of a call that carries the token, as "Bearer …".
AUTHORIZATION = "authorization"

#: How long a token that a service makes for itself holds, and how long before its end it makes another, in seconds.
OWN_SECONDS = 600
RENEW_BEFORE = 120


class Credentials(Protocol):
    """What makes or finds the token of a call."""

    def token(self, method: str, request: Message) -> str:
        """Returns the token for a call of the method, by full name: "headrace.query.v1.QueryService/Ask"."""


class GivenToken:
    """One token for everything, as somebody gave it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self, method: str, request: Message) -> str:
        """Returns the one that there is."""
        del method, request
        return self._token


class OwnToken:
    """A process's own token, for all tenants, made anew before it ends."""

    def __init__(self, maker: TokenMaker, role: str, *, clock: Callable[[], float] = time.time) -> None:
        self._maker = maker
        self._role = role
        self._clock = clock
        self._made = ""
        self._until = 0.0

    def token(self, method: str, request: Message) -> str:
        """Returns the token of now."""
        del method, request
        now = self._clock()
        if now > self._until - RENEW_BEFORE:
            self._until = now + OWN_SECONDS
            self._made = self._maker.make(
                role=self._role, tenant=EVERYBODY, subject=self._role, now=now, seconds=OWN_SECONDS
            )
        return self._made
