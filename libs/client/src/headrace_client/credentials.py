"""Who calls. The first of these that is there wins:

1. what the program passes to `Client.connect`;
2. the variable HEADRACE_TOKEN: a token; or HEADRACE_TOKEN_FILE: a file that holds one, read again at each call;
3. the issuer's private key in the folder of keys that the endpoints name, as `headrace up` makes it: then a token is
   made for each call, with a role that its method allows.

With none of them a call goes without a token, and the service says so.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from google.protobuf.message import Message
from headrace.access import METHODS, Access
from headrace_identity import EVERYBODY, Credentials, GivenToken, TokenMaker, UnusableKey, read_private_key

from headrace_client.endpoints import Endpoints
from headrace_client.errors import Denied, NotConfigured

TOKEN = "HEADRACE_TOKEN"  # noqa: S105 - a variable's name
TOKEN_FILE = "HEADRACE_TOKEN_FILE"  # noqa: S105 - a variable's name
ISSUER_KEY = "issuer.jwk"
ISSUER = AUDIENCE = "headrace"

#: How long a token that is made for a call holds, in seconds, and how long it is used again.
SECONDS = 600
REUSED = 300

#: Which role is taken where a method allows several: the one that the method is there for.
_ORDER = ("product", "steward", "privacy", "sre", "reviewer", "developer")
_MEANT_FOR = {
    "headrace.privacy.v1.ApprovalService/RequestGrant": "developer",
    "headrace.feedback.v1.FeedbackService/Export": "developer",
}
#: A method that is about no tenant takes whom the tenant does not matter to, and whoever sees the least of them first.
_ORDER_WITHOUT_TENANT = ("sre", "privacy", "developer")
#: The tenant of a developer's token where the method is about none.
_NO_TENANT = "none"


class TokenFile:
    """The token in a file, which somebody else keeps fresh."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self, method: str, request: Message) -> str:
        """Returns the token of now. Raises NotConfigured."""
        del method, request
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotConfigured(f"{TOKEN_FILE}={self._path} cannot be read ({type(error).__name__}).") from error


class MintedTokens:
    """Tokens of one's own making: who holds the issuer's key may be anybody.

    person: who calls, as audits name them. role: "" takes the role that each method is there for.
    """

    def __init__(
        self, maker: TokenMaker, *, person: str, role: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._person = person
        self._role = role
        self._clock = clock
        self._made = lru_cache(maxsize=256)(self._make)
        self._maker = maker

    def token(self, method: str, request: Message) -> str:
        """Returns a token that the call passes with. Raises Denied when nobody may make the call."""
        access = METHODS.get(method)
        if access is None:
            raise Denied(f"Nobody may call {method}.")
        role = self._role or _role_for(method, access)
        tenant = _tenant_for(role, access, request)
        subject = _subject_for(role, access, request, person=self._person)
        return self._made(role, tenant, subject, int(self._clock() // REUSED))

    def _make(self, role: str, tenant: str, subject: str, period: int) -> str:
        return self._maker.make(role=role, tenant=tenant, subject=subject, now=period * REUSED, seconds=SECONDS)


def _role_for(method: str, access: Access) -> str:
    order = _ORDER if access.tenant else _ORDER_WITHOUT_TENANT
    wanted = (_MEANT_FOR.get(method, ""), *order)
    return next((role for role in wanted if role in access.roles), min(access.roles))


def _tenant_for(role: str, access: Access, request: Message) -> str:
    stated = _read(request, access.tenant)
    if stated:
        return stated
    return EVERYBODY if role in ("privacy", "sre") or role.startswith("service:") else _NO_TENANT


def _subject_for(role: str, access: Access, request: Message, *, person: str) -> str:
    """A product speaks for the end user that the request names; everybody else for themselves."""
    return _read(request, access.subject) if role == "product" else person


def _read(request: Message, path: str) -> str:
    value: object = request
    for name in path.split(".") if path else ():
        value = getattr(value, name)
    return value if isinstance(value, str) else ""


def find_credentials(
    environ: Mapping[str, str], endpoints: Endpoints, *, person: str = "", role: str = ""
) -> Credentials | None:
    """Returns the credentials that the environment or the endpoints' keys give; None where there are none.

    person and role matter only where tokens are made here. Raises NotConfigured for a key that cannot be used.
    """
    if token := environ.get(TOKEN):
        return GivenToken(token.strip())
    if path := environ.get(TOKEN_FILE):
        return TokenFile(Path(path).expanduser())
    if not endpoints.keys:
        return None
    maker = open_maker(Path(endpoints.keys))
    return MintedTokens(maker, person=person or who_is_here(), role=role)


def open_maker(keys: Path) -> TokenMaker:
    """Returns what makes tokens with the issuer's key in the folder. Raises NotConfigured."""
    try:
        key = read_private_key(keys / ISSUER_KEY)
    except UnusableKey as error:
        raise NotConfigured(f"No token can be made: {error}. Set {TOKEN} to one that somebody gives you.") from error
    return TokenMaker(key, issuer=ISSUER, audience=AUDIENCE)


def who_is_here() -> str:
    """Returns the name of the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
