"""The door of every call: who asks, whether they may, and for whom the request then speaks.

Deny by default: a method that is not in headrace.access.METHODS is called by nobody. Tenant and subject of a request
come from the token; a request that names others is refused, in the same words whether or not they exist.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from google.protobuf.message import Message
from headrace.access import METHODS, OPEN, Access
from headrace_identity import Identities, Principal, Unproven, UnusableKey, Verifier, open_identities
from headrace_identity.credentials import AUTHORIZATION
from headrace_identity.errors import Flaw
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import trace_id

from headrace_runtime.denials import DenialBook, Reason, Refused
from headrace_runtime.errors import Conflict, Denied, Rejected, Unauthenticated, Violation
from headrace_runtime.seldom import Seldom
from headrace_runtime.settings import ServiceSettings, variable

log = structlog.get_logger()

_SCHEME = "bearer "
_TENANT = re.compile(r"[a-z0-9_-]{1,64}")

_IN_WORDS: dict[Flaw, str] = {
    "malformed": "the token is not a signed JSON Web Token",
    "unknown_key": "the token is signed with a key that is not among the identities",
    "wrong_algorithm": "the token is signed in a way that is not accepted: use EdDSA, ES256 or RS256",
    "wrong_signature": "the token's signature is wrong",
    "wrong_issuer": "the token is of another issuer",
    "wrong_audience": "the token is for another audience",
    "expired": "the token has expired",
    "not_yet_valid": "the token does not hold yet",
    "missing_claim": "a claim of the token is missing or makes no sense: exp, iat, sub, role or tenant",
    "unknown_role": "the token's role is not known here",
    "beyond_its_key": "the token's key does not speak for its role and tenant",
}


class _Denied(Denied):
    """Refused by the door itself, for one of its reasons."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason: Reason = reason


class Admission:
    """Decides who comes in. `open_services` are called without a token.

    Who may not is noted in `denials`, for the audit log. Who proves nothing is not: anybody could fill the log with it.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        methods: Mapping[str, Access] = METHODS,
        open_services: Collection[str] = OPEN,
        denials: DenialBook | None = None,
    ) -> None:
        self._verifier = verifier
        self._methods = methods
        self._open = frozenset(open_services)
        self._denials = denials or DenialBook()
        self._seldom = Seldom()

    def is_open(self, method: str) -> bool:
        """Says whether anybody may call the method, by full name: "grpc.health.v1.Health/Check"."""
        return method.partition("/")[0] in self._open

    def opening(self, services: Iterable[str]) -> Admission:
        """Returns the same with some more services that are called without a token."""
        more = self._open.union(services)
        return Admission(self._verifier, methods=self._methods, open_services=more, denials=self._denials)

    async def admit(self, method: str, request: Message, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """Returns who calls, with the request bound to them. Raises Unauthenticated, Denied or Rejected."""
        principal = await self._authenticate(method, metadata)
        access = self._methods.get(method)
        try:
            _let_in(request, access, principal)
        except _Denied as denied:
            self._note(Refused.of(principal, method, denied.reason))
            raise
        return principal

    def _note(self, refused: Refused) -> None:
        counter("headrace.calls.refused").add(1, {"reason": refused.reason})
        if self._denials.note(refused, trace_id=trace_id()):
            log.warning("call denied", method=refused.method, role=refused.role, reason=refused.reason)

    def _unproven(self, method: str, flaw: str) -> None:
        counter("headrace.calls.refused").add(1, {"reason": flaw})
        if (held_back := self._seldom.held_back(flaw)) is not None:
            log.warning("call not authenticated", method=method, reason=flaw, held_back=held_back)

    async def _authenticate(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        given = [value for name, value in metadata if name == AUTHORIZATION]
        if not given:
            self._unproven(method, "no token")
            raise Unauthenticated("the call carries no token: send one as authorization: Bearer …")
        try:
            return await self._verifier.verify(_bearer(given))
        except Unproven as error:
            self._unproven(method, error.flaw)
            raise Unauthenticated(_IN_WORDS.get(error.flaw, "the token proves nothing")) from None


def _bearer(given: list[str | bytes]) -> str:
    """Returns the one token. Two of them could mean one to us and another to whoever looked before."""
    value = given[0]
    if len(given) > 1 or not isinstance(value, str) or not value.lower().startswith(_SCHEME):
        raise Unproven("malformed")
    return value[len(_SCHEME) :].strip()


def _let_in(request: Message, access: Access | None, principal: Principal) -> None:
    if access is None or principal.role not in access.roles:
        raise _Denied("role", "this role may not call this method")
    bind(request, access, principal)


def bind(request: Message, access: Access, principal: Principal) -> None:
    """Makes the request speak for the caller: fills in the tenant and subject of the token.

    Raises Denied when the request names others, Rejected when it ends up with no tenant and must have one, or with what
    is no tenant's name.
    """
    if access.tenant:
        if not principal.is_of_all_tenants:
            _fill(request, access.tenant, principal.tenant, _Denied("tenant", "the token speaks for another tenant"))
        _check_named(read_path(request, access.tenant), access)
    if access.subject:
        _fill(request, access.subject, principal.subject, _Denied("subject", "the token speaks for another subject"))


def _check_named(tenant: str, access: Access) -> None:
    """What is no tenant's name goes no further: it would come back in errors."""
    if not tenant and not access.everybody:
        raise Rejected(Violation(access.tenant, "missing", "Name the tenant: the token speaks for all of them."))
    if tenant and not _TENANT.fullmatch(tenant):
        raise Rejected(Violation(access.tenant, "malformed", "A tenant's name is 1 to 64 of a-z, 0-9, _ and -."))


def _fill(request: Message, path: str, value: str, refusal: Denied) -> None:
    stated = read_path(request, path)
    if stated and stated != value:
        raise refusal
    if value and not stated:
        *parents, name = path.split(".")
        holder = request
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, name, value)


def read_path(request: Message, path: str) -> str:
    """Returns the text at a path as the table of access names it, "question.tenant"; "" where nothing is set."""
    value: Any = request
    for name in path.split("."):
        value = getattr(value, name)
    return str(value)


@asynccontextmanager
async def open_believed(settings: ServiceSettings) -> AsyncIterator[Identities]:
    """Opens the keys that a service believes. Raises Conflict with the mend when there are none."""
    if not settings.identities:
        raise Conflict(
            f"{variable(settings, 'identities')} is not set: name the JSON Web Key Set of those whose tokens are "
            "believed, a path or an address"
        )
    try:
        async with open_identities(settings.identities) as identities:
            yield identities
    except UnusableKey as error:
        raise Conflict(f"{variable(settings, 'identities')}: {error}") from error


@asynccontextmanager
async def open_admission(
    settings: ServiceSettings, *, clock: Callable[[], float] = time.time, denials: DenialBook | None = None
) -> AsyncIterator[Admission]:
    """Opens the door of a service, as its settings say. Raises Conflict when it cannot know anybody."""
    async with open_believed(settings) as identities:
        verifier = Verifier(
            identities,
            issuer=settings.issuer,
            audience=settings.audience,
            leeway_seconds=settings.leeway_seconds,
            clock=clock,
        )
        yield Admission(verifier, denials=denials)
